import type { ClusterNetworkPolicy } from '../kubernetes/cluster-network-policy.ts';
import type { Labels, NetworkPolicy } from '../kubernetes/network-policy.ts';
import type { ClusterNode, ClusterPod } from './objects.ts';

/**
 * The stored objects of a cluster. A version is that of the collection when it had these objects: a later
 * start asks for objects that are not older.
 */
export interface SavedParts {
  readonly policies: SavedPolicies;
  /** Pods of this node: their labels say which policies hold for them. */
  readonly own: SavedPods;
  readonly nodes: { readonly nodes: readonly (readonly [string, ClusterNode])[]; readonly version?: string };
  readonly pods: SavedPods;
}

export interface SavedPolicies {
  readonly policies: readonly (readonly [key: string, policy: NetworkPolicy])[];
  readonly namespaces: readonly (readonly [key: string, labels: Labels])[];
  /** Absent: they were not known. */
  readonly clusterPolicies?: readonly ClusterNetworkPolicy[];
  readonly versions?: Readonly<Partial<Record<string, string>>>;
}

export interface SavedPods {
  readonly pods: readonly (readonly [key: string, pod: ClusterPod])[];
  readonly version?: string;
}

/** Returns the newer of two versions (KEP-5504: decimal numbers, compared as such). */
export function newerOf(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  if (![a, b].every((one) => /^[1-9]\d*$/u.test(one))) return a;
  return a.length === b.length ? (a > b ? a : b) : a.length > b.length ? a : b;
}
