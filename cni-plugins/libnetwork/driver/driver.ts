import type { Socket } from 'node:net';
import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { CallPlugin } from '../../calls/plugin-call.ts';
import type { ExecOptions } from '../../cni/index.ts';
import { startActs } from '../acts/act-thread.ts';
import { followDockerNames } from '../docker/docker-names.ts';
import { createEndpoints } from '../endpoints/endpoints.ts';
import type { Engine } from '../endpoints/endpoints.types.ts';
import { openForgotten } from './forgotten.ts';
import { createHttpService } from './http.ts';
import { createKeyedQueue } from '../../../base/queues/index.ts';
import { createVerbs } from './docker-requests.ts';

export interface DockerDriverOptions {
  /** The network's SQLite database. */
  readonly databasePath: string;
  /**
   * The folder in which staging namespaces are pinned; created with mode 0700. It is on tmpfs, so that a
   * reboot leaves nothing.
   */
  readonly stagingDir: string;
  /** The folder of the conflists that networks name. */
  readonly confDir: string;
  /** How plugins are run if the network does not specify it. */
  readonly plugins: 'auto' | 'exec';
  /** Calls our plugins in process. */
  readonly callPlugin: CallPlugin;
  /** How to run third-party plugins. */
  readonly programs: ExecOptions;
  /**
   * Socket of docker's API, from which the names of its containers are read for others on their networks.
   * Absent: the containers are not found by name.
   */
  readonly dockerSocket?: string;
  readonly log: Logger;
}

/**
 * libnetwork's remote driver for networks and addresses: containers of an unmodified dockerd on any CNI
 * conflist.
 */
export interface DockerDriver {
  /**
   * Serves a connection of the socket that the engine finds (`/run/docker/plugins/NAME.sock`). Only root gets
   * answers.
   */
  accept(socket: Socket): void;
  /**
   * Removes what crashed processes left half-created in this process's own network namespace. The first
   * connection of each engine does the same for the engine's namespace.
   */
  recover(): Promise<void>;
  /** Refuses new calls, and resolves when those in progress have been answered. What was created stays. */
  close(): Promise<void>;
}

/** Creates the driver, and starts the Worker that changes the network for it. */
export function createDockerDriver({
  databasePath,
  stagingDir,
  confDir,
  plugins,
  callPlugin,
  programs,
  dockerSocket,
  log,
}: DockerDriverOptions): DockerDriver {
  const { acts, close } = startActs({ databasePath, folder: stagingDir });
  const turns = createKeyedQueue();
  const endpoints = createEndpoints({ acts, turns, log, stagingDir, callPlugin, programs });
  const verbs = createVerbs({ acts, endpoints, turns, source: { confDir, plugins } });
  /** The initial cleanup of each known engine process. It removes what a previous engine left. */
  const known = new Map<string, Promise<void>>();

  const reconcile = async (by: Engine, which?: 'of the dead'): Promise<void> => {
    try {
      await endpoints.reconcile(by, which);
    } catch (thrown) {
      log.warn(
        { why: reasonOf(thrown) },
        'leftovers of engines could not be checked; it is tried again at the next start',
      );
    }
  };

  const http = createHttpService({
    verbs,
    log,
    onEngine(by) {
      const key = `${by.identity?.pid ?? ''} ${by.identity?.startTime ?? ''}`;
      const looked = known.get(key) ?? reconcile(by);
      if (known.size >= 100) known.clear();
      known.set(key, looked);
      return looked;
    },
  });

  const forgotten =
    dockerSocket === undefined ? undefined : openForgotten(dockerSocket, { acts, endpoints, log });
  const names =
    dockerSocket === undefined
      ? undefined
      : followDockerNames({
          socket: dockerSocket,
          put: ({ id, ...called }) => acts.putNames(id, called),
          onDocker: async () => {
            await reconcile({ caller: {} }, 'of the dead');
            await forgotten?.look();
          },
          log,
        });

  return {
    accept: http.accept,
    recover: () => reconcile({ caller: {} }),
    async close() {
      forgotten?.close();
      await names?.close();
      await http.close();
      await turns.settled();
      await close();
    },
  };
}
