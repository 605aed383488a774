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
import { openPolicySource } from './policy-source.ts';
import type { FollowedPolicy } from './policy-source.ts';
import { openStateDatabase } from './database/open-database.ts';
import type { Undo } from './undo.ts';

/** The parts on which all other parts of the daemon depend. */
export interface OpenedFirst extends FollowedPolicy {
  readonly database: Database;
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly hostPaths: OpenHostPaths;
  readonly network: DaemonNetwork;
}

/**
 * Opens in parallel the parts that do not depend on one another, because threads, programs and the disk take
 * time.
 * @param deps.stateDir the state folder of the OCI runtimes
 * @param deps.undo gets the function that closes the network if the start fails
 * @throws the errors of the database, of the default handler and of the network
 */
export async function openFirst(
  config: DaemonConfig,
  deps: Pick<NetworkDeps, 'networkThreads' | 'onAct'> & {
    readonly startProgram: StartProgram;
    readonly stateDir: string;
    readonly log: Logger;
    readonly undo: Undo;
  },
): Promise<OpenedFirst> {
  const { startProgram, stateDir, networkThreads, log, undo, onAct } = deps;
  const openingDatabase = openStateDatabase(config.root, log);
  const openingPaths = openHostPaths(startProgram, [config.root, config.state]);
  // Only a daemon that has its records may change the network.
  const openingNetwork = openingPaths.then((paths) =>
    openNetwork(config, { startProgram, paths, log, networkThreads, after: openingDatabase, onAct }),
  );
  undo.push(() =>
    openingNetwork.then(
      (network) => network.close({ removeAll: true }),
      () => undefined,
    ),
  );
  const [database, handlers, policies, hostPaths, network] = await Promise.all([
    openingDatabase,
    openHandlers(config, startProgram, stateDir, log),
    openPolicySource(config, log),
    openingPaths,
    openingNetwork,
  ]);
  return { database, handlers, ...policies, hostPaths, network };
}
