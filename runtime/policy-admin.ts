import type { AdminPolicyStatus } from '../cni-plugins/index.ts';
import type { ClusterPolicy } from './cluster-policy/cluster-policy.ts';
import type { PolicyHolder } from './policy/policy-watch.ts';
import type { PolicyDelivery } from './policy-delivery/delivery.ts';

/** The answers of the admin API about the policy. */
export interface PolicyAdmin {
  status(): AdminPolicyStatus;
}

/**
 * @param delivery undefined: the node follows no signed releases
 * @param objects undefined: the policy is not in objects of the cluster
 */
export function createPolicyAdmin(
  policy: Pick<PolicyHolder, 'current' | 'problem'>,
  delivery: Pick<PolicyDelivery, 'status'> | undefined,
  objects: Pick<ClusterPolicy, 'status'> | undefined,
): PolicyAdmin {
  return {
    status() {
      const current = policy.current();
      const problem = policy.problem();
      const subscription = delivery?.status();
      const cluster = objects?.status();
      return {
        ...(current === undefined ? {} : { revision: current.revision, rules: current.rules.length }),
        ...(problem === undefined ? {} : { problem }),
        ...(subscription === undefined ? {} : { subscription }),
        ...(cluster === undefined ? {} : { cluster }),
      };
    },
  };
}
