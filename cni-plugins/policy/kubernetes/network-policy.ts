import type { ClusterPolicySet } from './cluster-network-policy.ts';

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

export type Labels = Readonly<Record<string, string>>;

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

/** Matches when all requirements match. Without requirements it selects everything. */
export type Selector = readonly Requirement[];

export interface Requirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  readonly values: readonly string[];
}

export interface PolicyRule {
  /** Undefined: every peer. */
  readonly peers?: readonly Peer[];
  /** Undefined: every protocol and port. */
  readonly ports?: readonly PolicyPort[];
}

export type Peer =
  | { readonly cidr: string; readonly except: readonly string[] }
  /** Without `namespaces`: pods of the policy's own namespace. Without `pods`: all pods. */
  | { readonly pods?: Selector; readonly namespaces?: Selector }
  /** Nodes, of ClusterNetworkPolicies alone. */
  | { readonly nodes: Selector };

export interface PolicyPort {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** A name refers to a container port of the responder. Undefined: any port. */
  readonly port?: { readonly low: number; readonly high: number } | string;
}

export function selects(selector: Selector, labels: Labels): boolean {
  return selector.every(({ key, operator, values }) => {
    const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
    if (operator === 'Exists') return value !== undefined;
    if (operator === 'DoesNotExist') return value === undefined;
    const listed = value !== undefined && values.includes(value);
    return operator === 'In' ? listed : !listed;
  });
}
