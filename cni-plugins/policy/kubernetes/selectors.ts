/** Selectors, peers and ports, which both kinds of policies have. Pure. */

/** Every namespace has this label of Kubernetes. */
export const nameLabel = 'kubernetes.io/metadata.name';

export type Labels = Readonly<Record<string, string>>;

/** Matches when all requirements match. Without requirements it selects everything. */
export type Selector = readonly Requirement[];

export interface Requirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  readonly values: readonly string[];
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
