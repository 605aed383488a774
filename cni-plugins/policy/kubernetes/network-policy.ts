import type { ClusterPolicySet } from './cluster-network-policy.ts';
import type { Labels, Peer, PolicyPort, Selector } from './selectors.ts';

export { selects } from './selectors.ts';
export type { Labels, Peer, PolicyPort, Requirement, Selector } from './selectors.ts';

/** Validated Kubernetes NetworkPolicies (networking.k8s.io/v1) and namespaces. */

export interface PolicySet {
  readonly policies: readonly NetworkPolicy[];
  /**
   * Labels of the namespaces that files describe. `unknown`: only a selector that selects every namespace
   * selects it.
   */
  readonly namespaces: ReadonlyMap<string, Labels | 'unknown'>;
  /**
   * Set when policies exist but are not known: every pod is isolated in both directions. The text names the
   * reason.
   */
  readonly isolated?: string;
  /** Absent: none. */
  readonly cluster?: ClusterPolicySet;
}

export interface NetworkPolicy {
  /** Absent for an object whose namespace cannot be read: it then selects in every namespace. */
  readonly namespace?: string;
  readonly name: string;
  /**
   * Why the object cannot be understood. It then has no rules: it isolates the pods that it may select, and
   * what other policies allow to them stays allowed. In Kubernetes' API a policy only adds to what is
   * allowed, so nothing is allowed here that the object would deny.
   */
  readonly unreadable?: string;
  readonly podSelector: Selector;
  /** Absent when the policy does not isolate pods in this direction. */
  readonly ingress?: readonly PolicyRule[];
  readonly egress?: readonly PolicyRule[];
}

export interface PolicyRule {
  /** Undefined: every peer. */
  readonly peers?: readonly Peer[];
  /** Undefined: every protocol and port. */
  readonly ports?: readonly PolicyPort[];
}
