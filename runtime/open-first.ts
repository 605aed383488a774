import type { Logger } from '../base/log/index.ts';
import type { StartProgram } from '../base/reactor/index.ts';
import type { Database } from '../base/storage/index.ts';
import type { ClusterPolicy } from './cluster-policy/cluster-policy.ts';
import type { DaemonConfig } from './config/types.ts';
import { openHostPaths } from './host-paths/host-paths.ts';
import type { OpenHostPaths } from './host-paths/host-paths.ts';
import { clusterPlaceOf } from './kubernetes-connection.ts';
import { openNetwork } from './network.ts';
import type { DaemonNetwork, NetworkDeps } from './network.ts';
import { openHandlers } from './oci/open-handlers.ts';
import type { RuntimeHandler } from './oci/runtime-handler.ts';
import { openPolicyDelivery } from './policy-delivery/delivery.ts';
import type { PolicyDelivery } from './policy-delivery/delivery.ts';
import { openPolicy } from './policy/policy-watch.ts';
import type { PolicyHolder } from './policy/policy-watch.ts';
import { openStateDatabase } from './database/open-database.ts';
import type { Undo } from './undo.ts';

/** The parts on which all other parts of the daemon depend. */
export interface OpenedFirst {
  readonly database: Database;
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly policy: PolicyHolder;
  /** Undefined: the node follows no signed releases. */
  readonly policyDelivery: PolicyDelivery | undefined;
  /** Undefined: the policy is not in objects of the cluster. */
  readonly clusterPolicy: ClusterPolicy | undefined;
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
    openPolicyOf(config, log),
    openingPaths,
    openingNetwork,
  ]);
  return { database, handlers, ...policies, hostPaths, network };
}

/** Opens the policy of the node: its files, or the release or the objects that it followed last. */
async function openPolicyOf(
  config: DaemonConfig,
  log: Logger,
): Promise<Pick<OpenedFirst, 'clusterPolicy' | 'policy' | 'policyDelivery'>> {
  const { policySubscription, cluster, policy, root } = config;
  const none = { policyDelivery: undefined, clusterPolicy: undefined };
  const room = log.child({ room: 'policy' });
  if (cluster?.policies === true) {
    // Its code is loaded only by a node that needs it.
    const { openClusterPolicy } = await import('./cluster-policy/cluster-policy.ts');
    const { policyFiles, policyStatus } = cluster;
    const clusterPolicy = await openClusterPolicy({
      ...{ place: clusterPlaceOf(config).place, writesStatus: policyStatus, root, log: room },
      ...(policyFiles !== undefined && { policyFiles }),
    });
    return { ...none, clusterPolicy, policy: await openPolicy(clusterPolicy.source, log) };
  }
  if (policySubscription === undefined) return { ...none, policy: await openPolicy({ paths: policy }, log) };
  const policyDelivery = await openPolicyDelivery(policySubscription, root, room);
  return { ...none, policyDelivery, policy: await openPolicy(policyDelivery.source, log) };
}
