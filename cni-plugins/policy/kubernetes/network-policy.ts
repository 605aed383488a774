/** Kubernetes' NetworkPolicies (networking.k8s.io/v1) and namespaces, checked: nothing in them can be wrong any more. */

export interface PolicySet {
  readonly policies: readonly NetworkPolicy[];
  /** Labels of the namespaces that files speak of; `unknown`: only a selector that selects every namespace selects it. */
  readonly namespaces: ReadonlyMap<string, Labels | 'unknown'>;
  /** Every pod is isolated in both directions, and this is what denies: there are policies, and nobody knows which. */
  readonly isolated?: string;
}

export type Labels = Readonly<Record<string, string>>;

export interface NetworkPolicy {
  /** Absent of an object whose namespace cannot be read: it selects in every namespace. */
  readonly namespace?: string;
  readonly name: string;
  /**
   * Why the object cannot be understood. It then has no rules: it isolates the pods that it may select, and what other policies allow to them stays
   * allowed. In Kubernetes' API a policy only adds to what is allowed, so that nothing is allowed here that the object would deny.
   */
  readonly unreadable?: string;
  readonly podSelector: Selector;
  /** Absent: the policy does not isolate pods in this direction. */
  readonly ingress?: readonly PolicyRule[];
  readonly egress?: readonly PolicyRule[];
}

/** All of its requirements hold; none: everything is selected. */
export type Selector = readonly Requirement[];

export interface Requirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  readonly values: readonly string[];
}

export interface PolicyRule {
  /** Undefined: everybody. */
  readonly peers?: readonly Peer[];
  /** Undefined: whatever is spoken. */
  readonly ports?: readonly PolicyPort[];
}

export type Peer =
  | { readonly cidr: string; readonly except: readonly string[] }
  /** Without `namespaces`: those of the policy's own namespace. Without `pods`: all of them. */
  | { readonly pods?: Selector; readonly namespaces?: Selector };

export interface PolicyPort {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** A name is that of a container's port of whoever is connected to. Undefined: any port. */
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
