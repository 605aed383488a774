import type { Logger } from '../base/log/index.ts';
import type { ClusterPolicy } from './cluster-policy/cluster-policy.ts';
import type { DaemonConfig } from './config/types.ts';
import { clusterPlaceOf } from './kubernetes-connection.ts';
import { openPolicyDelivery } from './policy-delivery/delivery.ts';
import type { PolicyDelivery } from './policy-delivery/delivery.ts';
import { openPolicy } from './policy/policy-watch.ts';
import type { PolicyHolder } from './policy/policy-watch.ts';

/** The policy in force, and the source that it follows. */
export interface FollowedPolicy {
  readonly policy: PolicyHolder;
  /** Undefined: the node follows no signed releases. */
  readonly policyDelivery: PolicyDelivery | undefined;
  /** Undefined: the policy is not in objects of the cluster. */
  readonly clusterPolicy: ClusterPolicy | undefined;
}

/**
 * Opens the policy of the node: its files, or the release or the objects that it followed last. Asks nobody:
 * `begin` of the source does.
 */
export async function openPolicySource(
  config: Pick<DaemonConfig, 'cluster' | 'network' | 'policy' | 'policySubscription' | 'root'>,
  log: Logger,
): Promise<FollowedPolicy> {
  const { policySubscription, cluster, policy, root } = config;
  const none = { policyDelivery: undefined, clusterPolicy: undefined };
  const policyLog = log.child({ component: 'policy' });
  if (cluster?.policies === true) {
    // Its code is loaded only by a node that needs it.
    const { openClusterPolicy } = await import('./cluster-policy/cluster-policy.ts');
    const { policyFiles, policyStatus } = cluster;
    const clusterPolicy = await openClusterPolicy({
      ...{ place: clusterPlaceOf(config).place, writesStatus: policyStatus, root, log: policyLog },
      ...(policyFiles !== undefined && { policyFiles }),
    });
    return { ...none, clusterPolicy, policy: await openPolicy(clusterPolicy.source, log) };
  }
  if (policySubscription === undefined) return { ...none, policy: await openPolicy({ paths: policy }, log) };
  const policyDelivery = await openPolicyDelivery(policySubscription, root, policyLog);
  return { ...none, policyDelivery, policy: await openPolicy(policyDelivery.source, log) };
}
