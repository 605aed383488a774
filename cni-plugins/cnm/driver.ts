import type { Socket } from 'node:net';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { CallPlugin } from '../attach/plugin-call.ts';
import type { ExecOptions } from '../invoke/exec-step.ts';
import { startActs } from './act-thread.ts';
import { followDockerNames } from './docker-names.ts';
import { createEndpoints } from './endpoints.ts';
import type { Engine } from './endpoints.ts';
import { openForgotten } from './forgotten.ts';
import { createHttpService } from './http.ts';
import { createTurns } from './turns.ts';
import { createVerbs } from './verbs.ts';

export interface DockerDriverOptions {
  /** The network's SQLite database. */
  readonly databasePath: string;
  /** Where namespaces of staging are pinned; made (0700). On tmpfs, so that a reboot leaves nothing. */
  readonly stagingDir: string;
  /** Conflists that networks name. */
  readonly confDir: string;
  /** How their plugins are run, where the network does not say. */
  readonly plugins: 'auto' | 'exec';
  /** Our plugins, in process. */
  readonly callPlugin: CallPlugin;
  /** The plugins of others. */
  readonly programs: ExecOptions;
  /** Of docker's API, by which the names of its containers are known to others on their networks. Absent: they are not. */
  readonly dockerSocket?: string;
  readonly log: Logger;
}

/** libnetwork's remote driver for networks and addresses: an unmodified dockerd's containers on any CNI conflist. */
export interface DockerDriver {
  /** For each connection of the socket that the engine finds (`/run/docker/plugins/NAME.sock`). Only root is answered. */
  accept(socket: Socket): void;
  /** Ends what the dead left half made in this process's own network namespace, as each first connection of an engine does for the engine's. */
  recover(): Promise<void>;
  /** Refuses new calls and resolves when those under way have their answer. What was made stays. */
  close(): Promise<void>;
}

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
  const turns = createTurns();
  const endpoints = createEndpoints({ acts, turns, log, stagingDir, callPlugin, programs });
  const verbs = createVerbs({ acts, endpoints, turns, source: { confDir, plugins } });
  /** Engines' processes of which it is known that they follow one that is gone. */
  const known = new Map<string, Promise<void>>();

  const reconcile = async (by: Engine, which?: 'of the dead'): Promise<void> => {
    try {
      await endpoints.reconcile(by, which);
    } catch (thrown) {
      log.warn({ why: reasonOf(thrown) }, 'what engines left could not be looked through; it is tried again at the next start');
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

  const forgotten = dockerSocket === undefined ? undefined : openForgotten(dockerSocket, { acts, endpoints, log });
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
