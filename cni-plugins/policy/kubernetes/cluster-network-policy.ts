import { nameLabel, selects } from './selectors.ts';
import type { Labels, Peer, PolicyPort, Selector } from './selectors.ts';

/**
 * ClusterNetworkPolicies (policy.networking.k8s.io, v1alpha2 and v1beta1) as values. Unlike NetworkPolicies
 * they have an order, and rules that deny. Pure.
 */
export interface ClusterNetworkPolicy {
  readonly name: string;
  readonly tier: 'admin' | 'baseline';
  /** From 0 to 1000; a lower one comes first. */
  readonly priority: number;
  readonly subject: ClusterSubject;
  readonly ingress: readonly ClusterRule[];
  readonly egress: readonly ClusterRule[];
  /** Parts that are not in force as they are written. */
  readonly unreadable?: string;
}

/** The pods of the namespaces; without `pods`, all of them. Pods in the network of a node never count. */
export interface ClusterSubject {
  readonly namespaces: Selector;
  readonly pods?: Selector;
}

export interface ClusterRule {
  readonly action: 'accept' | 'deny' | 'pass';
  /** The rule's name or number, for people. */
  readonly name: string;
  /** Undefined: everything, for a rule that denies because it cannot be understood. */
  readonly peers?: readonly Peer[];
  /** Undefined: every protocol and port. */
  readonly ports?: readonly ClusterPort[];
}

/** A name is that of a container port of the responder, of whatever protocol. */
export type ClusterPort =
  | {
      readonly protocol: PolicyPort['protocol'];
      readonly port?: { readonly low: number; readonly high: number };
    }
  | { readonly named: string };

/** The policies of a cluster, with the labels of its namespaces, by which they select. */
export interface ClusterPolicySet {
  readonly policies: readonly ClusterNetworkPolicy[];
  /** A namespace that is not here is not known yet. */
  readonly namespaces: ReadonlyMap<string, Labels>;
}

/** Policies of both tiers in the order in which they are evaluated. */
export interface OrderedPolicies {
  readonly admin: readonly ClusterNetworkPolicy[];
  readonly baseline: readonly ClusterNetworkPolicy[];
}

/** Policies of one priority come in the order of their names, so that all nodes have the same. */
export function orderPolicies(policies: readonly ClusterNetworkPolicy[]): OrderedPolicies {
  const sorted = policies.toSorted(
    (a, b) => a.priority - b.priority || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
  return {
    admin: sorted.filter(({ tier }) => tier === 'admin'),
    baseline: sorted.filter(({ tier }) => tier === 'baseline'),
  };
}

/**
 * Returns whether the policy selects the pod.
 * @param labels of the pod's namespace; undefined: they have not arrived yet. What depends on them is unknown
 */
export function selectsPod(
  { namespaces, pods }: ClusterSubject,
  pod: { readonly namespace: string; readonly labels: Labels },
  labels: Labels | undefined,
): boolean | 'unknown' {
  if (pods !== undefined && !selects(pods, pod.labels)) return false;
  const named = { [nameLabel]: pod.namespace };
  if (labels !== undefined) return selects(namespaces, { ...labels, ...named });
  const byName = namespaces.filter(({ key }) => key === nameLabel);
  if (!selects(byName, named)) return false;
  return byName.length === namespaces.length ? true : 'unknown';
}
