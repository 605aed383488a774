import { withBlocks } from './block-limits.ts';
import type { Direction } from '../rules/pod-chains.ts';
import { awaitedLabels, selecting } from './indexed-policies.ts';
import type { IndexedPolicies, PolicyPod } from './indexed-policies.ts';
import type { NetworkPolicy } from './network-policy.ts';

/**
 * Limits of grants: rules and ports of NetworkPolicies. Each grant of a pod is at least one nf_tables rule
 * for this pod alone. Pure.
 */

/**
 * Limit of grants of one pod in one direction. Any user who writes NetworkPolicies in one namespace may be
 * their author: without a limit, one object of the size that the API accepts fills the node's memory.
 */
export const mostGrants = 4096;
/**
 * Limit for all pods of a namespace on the node together, in one direction: enough for 110 pods that 2,000
 * policies of one rule select each.
 */
const mostOfNamespace = 262_144;
/**
 * Limit for all pods of the node, in both directions together: as many as one namespace may have. The kernel
 * needs up to 3 kB for each, and takes no more in one transaction, which recreates the tables.
 */
const mostOfNode = 2 * mostOfNamespace;

/** Number of grants of a pod in each direction, without limits. */
export interface GrantDemand extends Readonly<Record<Direction, number>> {
  /** The policies that name blocks of addresses. */
  readonly withBlocks: readonly NetworkPolicy[];
}

const counted = new WeakMap<NetworkPolicy, Map<Direction, number>>();

/** Returns the number of grants in the policies, with one for each port. */
export function countGrants(policies: readonly NetworkPolicy[], direction: Direction): number {
  return policies.reduce((sum, policy) => {
    const counts = counted.get(policy) ?? new Map<Direction, number>();
    counted.set(policy, counts);
    const count =
      counts.get(direction) ??
      (policy[direction] ?? []).reduce((inRules, { ports }) => inRules + (ports?.length ?? 1), 0);
    counts.set(direction, count);
    return sum + count;
  }, 0);
}

/** Returns the number of grants that the pod's policies ask for. */
export function demandOf(policies: IndexedPolicies, pod: PolicyPod): GrantDemand {
  const those = awaitedLabels(policies, pod) === undefined ? selecting(policies, pod) : [];
  const [egress, ingress] = [countGrants(those, 'egress'), countGrants(those, 'ingress')];
  return { egress, ingress, withBlocks: withBlocks(those) };
}

/** The limit of grants of one pod in one direction. */
export interface GrantLimit {
  readonly most: number;
  /** The limit is lower because all pods of the node together would have too many grants. */
  readonly isShare: boolean;
}

/**
 * Returns the limits of namespaces. If all namespaces together would have more than the node allows, only
 * those with the most have a lower limit: a namespace that asks for no more than an equal share gets it, and
 * the others share the rest equally.
 */
export function grantLimits<Pod>(
  namespaces: ReadonlyMap<string, readonly Pod[]>,
  demandFor: (pod: Pod) => GrantDemand | undefined,
): Map<string, GrantLimit> {
  const asking = [...namespaces].map(([name, { length: pods }]) => {
    const most = Math.min(mostGrants, Math.floor(mostOfNamespace / pods));
    // Nothing is granted beyond a limit.
    const granted = (grants = 0): number => (grants > most ? 0 : grants);
    const demand = (namespaces.get(name) ?? []).reduce((sum, pod) => {
      const asked = demandFor(pod);
      return sum + granted(asked?.egress) + granted(asked?.ingress);
    }, 0);
    return { name, pods, most, demand };
  });
  let left = mostOfNode;
  return new Map(
    asking
      .sort((a, b) => a.demand - b.demand)
      .map(({ name, pods, most, demand }, index) => {
        const share = Math.floor(left / (asking.length - index));
        left -= Math.min(demand, share);
        const shared = Math.floor(share / 2 / pods);
        const isShare = demand > share && shared < most;
        return [name, { most: isShare ? shared : most, isShare }];
      }),
  );
}
