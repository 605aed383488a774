import { createNamespaceLimits } from '../../../base/kubernetes/index.ts';
import type { NetworkPolicy } from '../kubernetes/network-policy.ts';

/**
 * Limits of the memory of NetworkPolicies. Any user who writes NetworkPolicies in one namespace may be their
 * author: without a limit, a few dozen objects of the size that the API accepts end the thread of every node.
 * Pure.
 */
export interface PolicyMemory {
  /**
   * Notes the policy of a key, `namespace/name`; undefined: it is gone.
   * @returns the keys of policies that have to be replaced by {@link tooLarge}
   */
  put(key: string, policy: NetworkPolicy | undefined): readonly string[];
}

export interface PolicyMemoryLimits {
  /** In bytes, for the policies of one namespace. */
  readonly ofNamespace: number;
  /** In bytes, for those of all namespaces together. */
  readonly ofAll: number;
}

/** A policy with 65,536 blocks of addresses, the most that a pod may have, needs 10 MiB. */
const usualLimits: PolicyMemoryLimits = { ofNamespace: 32 * 1024 * 1024, ofAll: 192 * 1024 * 1024 };

export function createPolicyMemory(limits = usualLimits): PolicyMemory {
  const { put } = createNamespaceLimits(limits);
  return { put: (key, policy) => put(key, policy && sizeOf(policy)) };
}

/** Returns about how many bytes V8 needs for a value of objects, lists and texts. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return 24 + value.length;
  if (typeof value !== 'object' || value === null) return 8;
  if (Array.isArray(value)) return value.reduce<number>((sum, one) => sum + 8 + sizeOf(one), 32);
  return Object.values(value).reduce<number>((sum, one) => sum + sizeOf(one), 64);
}

/**
 * Returns a policy in place of one that needs too much memory. It needs little, and fails closed: it isolates
 * every pod of its namespace.
 */
export function tooLarge({ namespace, name }: NetworkPolicy): {
  readonly policy: NetworkPolicy;
  readonly problem: string;
} {
  const problem = `NetworkPolicy ${namespace ?? 'default'}/${name}: it isolates all pods of its namespace, because the NetworkPolicies of the namespace are too large; make them smaller, and then write this one again`;
  const policy: NetworkPolicy = {
    ...(namespace !== undefined && { namespace }),
    ...{ name, podSelector: [], ingress: [], egress: [], unreadable: problem },
  };
  return { policy, problem };
}
