import type { NamedPort } from '../../types.ts';
import { orderPolicies } from './cluster-network-policy.ts';
import type { OrderedPolicies } from './cluster-network-policy.ts';
import { selects } from './network-policy.ts';
import type { Labels, NetworkPolicy, PolicySet } from './network-policy.ts';

/** A pod as policies see it, and policies by whom they may select. Pure. */

export interface PolicyPod {
  readonly namespace: string;
  readonly labels: Labels;
  /** The labels have not arrived yet, or are too many to follow, and `labels` is empty. */
  readonly labelsUnknown?: true;
  readonly addresses: readonly string[];
  readonly namedPorts: readonly NamedPort[];
}

/** Policies by the namespace whose pods they select. */
export interface IndexedPolicies {
  readonly byNamespace: ReadonlyMap<string | undefined, readonly NetworkPolicy[]>;
  readonly isolated?: string;
  /** Absent: there are no ClusterNetworkPolicies. */
  readonly tiers?: OrderedPolicies;
  /** Labels of namespaces, by which ClusterNetworkPolicies select. */
  readonly labelsOf: (namespace: string) => Labels | undefined;
}

export function indexPolicies({ policies, isolated, cluster }: PolicySet): IndexedPolicies {
  return {
    byNamespace: Map.groupBy(policies, ({ namespace }) => namespace),
    labelsOf: (namespace) => cluster?.namespaces.get(namespace),
    ...(cluster !== undefined && cluster.policies.length > 0 && { tiers: orderPolicies(cluster.policies) }),
    ...(isolated !== undefined && { isolated }),
  };
}

/** Returns the policies that select the pod, whatever their directions. */
export function selecting(
  { byNamespace }: IndexedPolicies,
  { namespace, labels }: Pick<PolicyPod, 'namespace' | 'labels'>,
): readonly NetworkPolicy[] {
  const those = [...(byNamespace.get(namespace) ?? []), ...(byNamespace.get(undefined) ?? [])];
  return those.filter(({ podSelector }) => selects(podSelector, labels));
}

/**
 * Returns why the pod is isolated although no policy is known to select it: its labels are not known, and a
 * policy may select it by them. A rule that denies the pod's connections at another pod does not know the pod
 * either.
 */
export function awaitedLabels(
  { byNamespace, tiers }: IndexedPolicies,
  { namespace, labelsUnknown }: Pick<PolicyPod, 'namespace' | 'labelsUnknown'>,
): string | undefined {
  if (labelsUnknown !== true) return undefined;
  const mayBeSelected = tiers !== undefined || byNamespace.has(namespace) || byNamespace.has(undefined);
  return mayBeSelected ? 'labels of the pod (not known)' : undefined;
}
