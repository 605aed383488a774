import { setTimeout as pause } from 'node:timers/promises';
import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { ActsApart } from '../acts/act-thread.ts';
import { openDockerApi } from '../docker/docker-api.ts';
import type { DockerApi } from '../docker/docker-api.ts';
import { endpointsOfNetwork } from '../docker/docker-container.ts';
import type { Endpoints } from '../endpoints/endpoints.types.ts';

/**
 * Finds endpoints that docker gave up while no driver answered. `docker rm --force` removes docker's own
 * record whatever the driver answers, and never calls the driver again. So docker is asked which endpoints
 * its networks have.
 */
export interface Forgotten {
  /** Removes such endpoints. Resolves when that is done, or with `close`. Never throws. */
  look(): Promise<void>;
  close(): void;
}

/** Docker knows an endpoint only a moment after it was created, so docker is asked twice. */
const betweenMs = 10_000;

/** @param socket docker's API, of a docker in this process's network namespace */
export function openForgotten(
  socket: string,
  {
    acts,
    endpoints,
    log,
  }: {
    readonly acts: ActsApart;
    readonly endpoints: Pick<Endpoints, 'sweep'>;
    readonly log: Pick<Logger, 'warn'>;
  },
): Forgotten {
  const ending = new AbortController();
  const by = { caller: {} };

  const unknown = async (api: DockerApi): Promise<Set<string>> => {
    const namespaceId = await acts.namespaceId(by.caller);
    const here = (await acts.endpoints()).filter((endpoint) => endpoint.namespaceId === namespaceId);
    const found = new Set<string>();
    for (const network of new Set(here.map((endpoint) => endpoint.network))) {
      const known = endpointsOfNetwork(await api.network(network));
      // The network belongs to another docker, or is being removed.
      if (known === undefined) continue;
      for (const { id, network: of } of here) if (of === network && !known.has(id)) found.add(id);
    }
    return found;
  };

  return {
    async look() {
      const api = openDockerApi(socket);
      try {
        const first = await unknown(api);
        if (first.size === 0) return;
        await pause(betweenMs, undefined, { signal: ending.signal, ref: false });
        const still = await unknown(api);
        await endpoints.sweep(({ id }) => first.has(id) && still.has(id), by);
      } catch (thrown) {
        if (!ending.signal.aborted)
          log.warn(
            { socket, why: reasonOf(thrown) },
            'docker could not be asked for its endpoints; it is asked again at the next start',
          );
      } finally {
        api.close();
      }
    },
    close: () => ending.abort(),
  };
}
