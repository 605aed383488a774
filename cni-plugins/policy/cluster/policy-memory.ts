import { append } from '../../../base/lists/index.ts';
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

/** The part of a limit that is used after policies were dropped: the next policies need not be compared. */
const room = 0.9;

/** The policies of one namespace. */
interface Sizes {
  total: number;
  readonly byKey: Map<string, number>;
}

export function createPolicyMemory({ ofNamespace, ofAll } = usualLimits): PolicyMemory {
  const namespaces = new Map<string, Sizes>();
  let total = 0;

  function note(key: string, size: number | undefined): Sizes {
    const namespace = key.slice(0, key.indexOf('/'));
    const sizes = namespaces.get(namespace) ?? { total: 0, byKey: new Map<string, number>() };
    const by = (size ?? 0) - (sizes.byKey.get(key) ?? 0);
    sizes.total += by;
    total += by;
    if (size === undefined) sizes.byKey.delete(key);
    else sizes.byKey.set(key, size);
    if (sizes.byKey.size === 0) namespaces.delete(namespace);
    else namespaces.set(namespace, sizes);
    return sizes;
  }

  /** Drops the largest policies of a namespace, which then count no more, while `isTooLarge`. */
  function shrink(sizes: Sizes, isTooLarge: () => boolean): string[] {
    const dropped: string[] = [];
    for (const [key] of [...sizes.byKey].sort(([, a], [, b]) => b - a)) {
      if (!isTooLarge()) break;
      note(key, undefined);
      dropped.push(key);
    }
    return dropped;
  }

  function largest(): Sizes {
    return [...namespaces.values()].reduce((most, one) => (one.total > most.total ? one : most));
  }

  return {
    put(key, policy) {
      const sizes = note(key, policy && sizeOf(policy));
      const dropped: string[] = [];
      if (sizes.total > ofNamespace)
        append(
          dropped,
          shrink(sizes, () => sizes.total > room * ofNamespace),
        );
      if (total <= ofAll) return dropped;
      while (total > room * ofAll) {
        const most = largest();
        const half = most.total / 2;
        append(
          dropped,
          shrink(most, () => most.total > half && total > room * ofAll),
        );
      }
      return dropped;
    },
  };
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
