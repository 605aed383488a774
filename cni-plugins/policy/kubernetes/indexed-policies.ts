import type { NamedPort } from '../../types.ts';
import { orderPolicies } from './cluster-network-policy.ts';
import type { OrderedPolicies } from './cluster-network-policy.ts';
import type { Labels, NetworkPolicy, PolicySet } from './network-policy.ts';

/** A pod as policies see it, and policies by whom they may select. Pure. */

export interface PolicyPod {
  readonly namespace: string;
  readonly labels: Labels;
  /** The labels have not arrived yet, and `labels` is empty. */
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
