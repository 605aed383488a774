import type { Logger } from '../base/log/index.ts';
import type { StartProgram } from '../base/reactor/index.ts';
import type { Database } from '../base/storage/index.ts';
import type { DaemonConfig } from './config/types.ts';
import { openHostPaths } from './host-paths/host-paths.ts';
import type { OpenHostPaths } from './host-paths/host-paths.ts';
import { openNetwork } from './network.ts';
import type { DaemonNetwork, NetworkDeps } from './network.ts';
import { openHandlers } from './oci/open-handlers.ts';
import type { RuntimeHandler } from './oci/runtime-handler.ts';
import { openPolicy } from './policy-watch.ts';
import type { PolicyHolder } from './policy-watch.ts';
import { openStateDatabase } from './state/open-database.ts';
import type { Undo } from './undo.ts';

/** What everything else of the daemon is made of. */
export interface OpenedFirst {
  readonly database: Database;
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly policy: PolicyHolder;
  readonly hostPaths: OpenHostPaths;
  readonly network: DaemonNetwork;
}

/**
 * Opens side by side what needs nothing of one another: threads, programs and the disk take their time.
 * @param deps.stateDir of the OCI runtimes
 * @param deps.undo gets what closes the network where the start fails
 * @throws those of the database, of the default handler and of the network
 */
export async function openFirst(
  config: DaemonConfig,
  deps: Pick<NetworkDeps, 'onAct'> & {
    readonly startProgram: StartProgram;
    readonly stateDir: string;
    readonly log: Logger;
    readonly undo: Undo;
  },
): Promise<OpenedFirst> {
  const { startProgram, stateDir, log, undo, onAct } = deps;
  const openingDatabase = openStateDatabase(config.root, log);
  const openingPaths = openHostPaths(startProgram, [config.root, config.state]);
  // The network is changed only by a daemon that has its records; its thread takes its time to load.
  const openingNetwork = openingPaths.then((paths) => openNetwork(config, { startProgram, paths, log, after: openingDatabase, onAct }));
  undo.push(() =>
    openingNetwork.then(
      (network) => network.close({ removeAll: true }),
      () => undefined,
    ),
  );
  const [database, handlers, policy, hostPaths, network] = await Promise.all([
    openingDatabase,
    openHandlers(config, startProgram, stateDir, log),
    openPolicy(config.policy, log),
    openingPaths,
    openingNetwork,
  ]);
  return { database, handlers, policy, hostPaths, network };
}
