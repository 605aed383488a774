import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { openDockerApi } from './docker-api.ts';
import { containerOfEvent, readDockerContainer } from './docker-container.ts';
import type { DockerEndpoint } from './docker-container.ts';

/**
 * Follows the names of docker's containers, which no remote driver is told: read from docker's API once, then after each of its events that
 * may change one, and all again whenever docker was away. What is put ends with the endpoint that it belongs to.
 */
export interface DockerNames {
  /** Nothing is put any more when it resolves. */
  close(): Promise<void>;
}

export interface DockerNamesOptions {
  /** Of docker's API. It may come later, and go. */
  readonly socket: string;
  /** Writes down what one endpoint is called. An endpoint of others, or none, is passed over. */
  readonly put: (endpoint: DockerEndpoint) => Promise<void>;
  /** Docker is there, for the first time or again: who ended while it was away has left nobody to say so. */
  readonly onDocker: () => Promise<void>;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

const againMs = 1000;
/** Containers that are asked for at once. */
const atOnce = 4;

/** A container is connected while it starts; `start` comes after all of its endpoints stand. */
const filters = { type: ['container', 'network'], event: ['connect', 'rename', 'start'] };

export function followDockerNames({ socket, put, onDocker, log }: DockerNamesOptions): DockerNames {
  const api = openDockerApi(socket);
  let closed = false;
  let again: NodeJS.Timeout | undefined;
  let wake: (() => void) | undefined;
  /** What was said last, so that each change is said once. */
  let said: 'away' | 'followed' | undefined;

  const waiting = new Set<string>();
  const busy = new Map<string, Promise<void>>();
  const look = async (id: string): Promise<void> => {
    try {
      const container = readDockerContainer(await api.inspect(id));
      for (const endpoint of container?.endpoints ?? []) if (!closed) await put(endpoint);
    } catch (thrown) {
      const named = isPortcullisError(thrown) && { code: thrown.code, on: thrown.failure.on };
      if (!closed)
        log.warn({ container: id, ...named, why: reasonOf(thrown) }, 'names or services of a container of docker could not be read');
    }
  };
  const next = (): void => {
    for (const id of waiting) {
      if (closed || busy.size >= atOnce) return;
      // Asked for again while it was looked at: once more afterwards.
      if (busy.has(id)) continue;
      waiting.delete(id);
      const looked = look(id).finally(() => {
        busy.delete(id);
        next();
      });
      busy.set(id, looked);
    }
  };
  const want = (ids: Iterable<string>): void => {
    for (const id of ids) waiting.add(id);
    next();
  };

  const followOnce = async (): Promise<void> => {
    let reading: Promise<void> = Promise.resolve();
    let looking: Promise<void> = Promise.resolve();
    await api.follow(
      filters,
      () => {
        // What is connected from here on comes as an event: nothing falls between.
        reading = api
          .running()
          .then(want, (thrown: unknown) => log.warn({ socket, why: reasonOf(thrown) }, "docker's containers could not be listed"));
        looking = onDocker();
        if (said !== 'followed') log.info({ socket }, "the names of docker's containers are followed");
        said = 'followed';
      },
      (event) => {
        const id = containerOfEvent(event);
        if (id !== undefined) want([id]);
      },
    );
    await reading;
    await looking;
  };

  const attempt = async (): Promise<void> => {
    try {
      await followOnce();
    } catch (thrown) {
      if (!closed && said !== 'away')
        log.info({ socket, why: reasonOf(thrown) }, "the names of docker's containers are not known; it is tried again each second");
      said = 'away';
    }
  };
  const rest = (): Promise<void> =>
    new Promise((resolve) => {
      if (closed) return resolve();
      wake = resolve;
      again = setTimeout(resolve, againMs);
      again.unref();
    });
  const run = async (): Promise<void> => {
    for (; !closed; await rest()) await attempt();
  };
  const running = run();

  return {
    async close() {
      closed = true;
      waiting.clear();
      clearTimeout(again);
      wake?.();
      api.close();
      await running;
      await Promise.all(busy.values());
    },
  };
}
