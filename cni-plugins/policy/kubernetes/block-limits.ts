import { isBlock } from './grant-parts.ts';
import type { Direction } from '../rules/pod-chains.ts';
import type { NetworkPolicy } from './network-policy.ts';

/**
 * Limits of the blocks of addresses in NetworkPolicies, with their exceptions. All pods that a policy selects
 * share its sets of addresses in the kernel, so a policy counts once for a namespace. Pure.
 */

/**
 * Limit for all pods of a namespace on the node together, in both directions. The kernel needs some 200
 * bytes for each block, which cannot be swapped out, and the process some 700.
 */
export const mostBlocksOfNamespace = 262_144;
const mostBlocksOfNode = 4 * mostBlocksOfNamespace;

const counted = new WeakMap<NetworkPolicy, Readonly<Record<Direction, number>>>();

function countsOf(policy: NetworkPolicy): Readonly<Record<Direction, number>> {
  const known = counted.get(policy);
  if (known !== undefined) return known;
  const count = (direction: Direction): number => {
    let sum = 0;
    for (const { peers = [] } of policy[direction] ?? [])
      for (const peer of peers) if (isBlock(peer)) sum += 1 + peer.except.length;
    return sum;
  };
  const made = { egress: count('egress'), ingress: count('ingress') };
  counted.set(policy, made);
  return made;
}

/** Returns the number of blocks and exceptions in the policies. */
export const countBlocks = (policies: readonly NetworkPolicy[], direction: Direction): number =>
  policies.reduce((sum, policy) => sum + countsOf(policy)[direction], 0);

const countAll = (policies: Iterable<NetworkPolicy>): number => {
  let sum = 0;
  for (const policy of policies) sum += countsOf(policy).egress + countsOf(policy).ingress;
  return sum;
};

/** Returns the policies that name blocks. */
export const withBlocks = (policies: readonly NetworkPolicy[]): readonly NetworkPolicy[] =>
  policies.filter((policy) => countAll([policy]) > 0);

/**
 * Returns limits of the blocks of one pod in one direction, by namespace, only for namespaces whose pods
 * together name too many. If all namespaces together name more than the node allows, those that name the most
 * share what the others leave.
 * @param blocksFor returns the policies with blocks that select a pod
 */
export function blockLimits<Pod>(
  namespaces: ReadonlyMap<string, readonly Pod[]>,
  blocksFor: (pod: Pod) => readonly NetworkPolicy[],
): Map<string, number> {
  let left = mostBlocksOfNode;
  const asking = [...namespaces].map(([name, pods]) => {
    const distinct = new Set<NetworkPolicy>();
    for (const pod of pods) for (const policy of blocksFor(pod)) distinct.add(policy);
    return { name, pods: pods.length, demand: countAll(distinct) };
  });
  return new Map(
    asking
      .sort((a, b) => a.demand - b.demand)
      .flatMap(({ name, pods, demand }, index) => {
        const most = Math.min(mostBlocksOfNamespace, Math.floor(left / (asking.length - index)));
        left -= Math.min(demand, most);
        return demand > most ? [[name, Math.floor(most / 2 / pods)] as const] : [];
      }),
  );
}
