import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { openDockerApi } from './docker-api.ts';
import { containerOfEvent, readDockerContainer } from './docker-container.ts';
import type { DockerEndpoint } from './docker-container.ts';

/**
 * Follows the names of docker's containers, because docker does not pass them to remote drivers. It reads
 * them from docker's API once, after each event that may change one, and completely whenever docker was away.
 * A name ends with the endpoint that it belongs to.
 */
export interface DockerNames {
  /** When it resolves, no further names are written. */
  close(): Promise<void>;
}

export interface DockerNamesOptions {
  /** The socket of docker's API. It may appear later, and disappear. */
  readonly socket: string;
  /**
   * Writes the names of one endpoint. An endpoint of another driver, or one that does not exist, is ignored.
   */
  readonly put: (endpoint: DockerEndpoint) => Promise<void>;
  /**
   * Called when docker is available, for the first time or again. No event reports a container that ended
   * while docker was away.
   */
  readonly onDocker: () => Promise<void>;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

const againMs = 1000;
/** The highest number of containers that are queried at once. */
const atOnce = 4;

/** Docker connects a container while it starts it; `start` comes after all of its endpoints exist. */
const filters = { type: ['container', 'network'], event: ['connect', 'rename', 'start'] };

export function followDockerNames({ socket, put, onDocker, log }: DockerNamesOptions): DockerNames {
  const api = openDockerApi(socket);
  let closed = false;
  let again: NodeJS.Timeout | undefined;
  let wake: (() => void) | undefined;
  /** The state that was logged last, so that each change is logged once. */
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
        log.warn(
          { container: id, ...named, why: reasonOf(thrown) },
          'names or services of a Docker container could not be read',
        );
    }
  };
  const next = (): void => {
    for (const id of waiting) {
      if (closed || busy.size >= atOnce) return;
      // The container was requested again during its query: it is queried once more afterwards.
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
        // Containers that are connected from here on arrive as events, so none is missed.
        reading = api
          .running()
          .then(want, (thrown: unknown) =>
            log.warn({ socket, why: reasonOf(thrown) }, "docker's containers could not be listed"),
          );
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
        log.info(
          { socket, why: reasonOf(thrown) },
          "the names of docker's containers are not known; it is tried again each second",
        );
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
