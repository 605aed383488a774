/**
 * An oracle for the traffic that NetworkPolicies allow, written from their specification (Kubernetes API
 * reference, NetworkPolicy v1) over the API's own objects, as naively as possible. It shares no code with
 * what it judges.
 */

export interface ApiSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
    readonly values?: readonly string[];
  }[];
}

export interface ApiPeer {
  readonly podSelector?: ApiSelector;
  readonly namespaceSelector?: ApiSelector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}

export interface ApiRule {
  readonly from?: readonly ApiPeer[];
  readonly to?: readonly ApiPeer[];
  readonly ports?: readonly {
    readonly protocol?: 'TCP' | 'UDP' | 'SCTP';
    readonly port?: number | string;
    readonly endPort?: number;
  }[];
}

export interface ApiPolicy {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec: {
    readonly podSelector: ApiSelector;
    readonly policyTypes?: readonly ('Ingress' | 'Egress')[];
    readonly ingress?: readonly ApiRule[];
    readonly egress?: readonly ApiRule[];
  };
}

export interface ApiPod {
  readonly metadata: {
    readonly namespace: string;
    readonly name: string;
    readonly uid: string;
    readonly labels: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly nodeName: string;
    readonly hostNetwork?: boolean;
    readonly containers: readonly {
      readonly ports: readonly {
        readonly name: string;
        readonly containerPort: number;
        readonly protocol: 'TCP' | 'UDP' | 'SCTP';
      }[];
    }[];
  };
  readonly status: { readonly phase: string; readonly podIPs: readonly { readonly ip: string }[] };
}

export interface ApiNamespace {
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
}

export interface ApiCluster {
  readonly pods: readonly ApiPod[];
  readonly namespaces: readonly ApiNamespace[];
  readonly policies: readonly ApiPolicy[];
}

export interface Flow {
  readonly from: string;
  readonly to: string;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly port: number;
}

/** Returns whether policies let the flow leave (egress) or reach (ingress) the pod, one end of it. */
export function isAllowed(
  cluster: ApiCluster,
  pod: ApiPod,
  direction: 'ingress' | 'egress',
  flow: Flow,
): boolean {
  const other = direction === 'ingress' ? flow.from : flow.to;
  if (pod.status.podIPs.some(({ ip }) => ip === other)) return true;
  const isolating = cluster.policies.filter((policy) => isolates(policy, pod, direction));
  if (isolating.length === 0) return true;
  return isolating.some(({ metadata, spec }) =>
    (spec[direction] ?? []).some((rule) => {
      const peers = (direction === 'ingress' ? rule.from : rule.to) ?? [];
      const ports = rule.ports ?? [];
      // A named port is that of the pod which answers. If several pods have one address, each counts
      // with its own ports.
      const others = [...podsAt(cluster, other), undefined];
      return others.some(
        (one) =>
          (peers.length === 0 ||
            peers.some((peer) => isPeer(cluster, metadata.namespace, peer, one, other))) &&
          (ports.length === 0 ||
            ports.some((port) => isPort(port, flow, direction === 'ingress' ? pod : one))),
      );
    }),
  );
}

export const isolates = (
  { metadata, spec }: ApiPolicy,
  pod: ApiPod,
  direction: 'ingress' | 'egress',
): boolean =>
  metadata.namespace === pod.metadata.namespace &&
  isSelected(spec.podSelector, pod.metadata.labels) &&
  typesOf(spec).includes(direction === 'ingress' ? 'Ingress' : 'Egress');

/** "If this field is not specified, it will default based on the existence of ingress or egress rules". */
function typesOf({ policyTypes, egress }: ApiPolicy['spec']): readonly string[] {
  if (policyTypes !== undefined && policyTypes.length > 0) return policyTypes;
  return egress !== undefined && egress.length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
}

export const podsAt = ({ pods }: ApiCluster, address: string): ApiPod[] =>
  pods.filter(
    ({ status }) =>
      !['Succeeded', 'Failed'].includes(status.phase) && status.podIPs.some(({ ip }) => ip === address),
  );

function isPeer(
  { namespaces }: ApiCluster,
  namespace: string,
  { podSelector, namespaceSelector, ipBlock }: ApiPeer,
  pod: ApiPod | undefined,
  address: string,
): boolean {
  if (ipBlock !== undefined)
    return isWithin(address, ipBlock.cidr) && !(ipBlock.except ?? []).some((hole) => isWithin(address, hole));
  if (pod === undefined) return false;
  const itsNamespace = namespaces.find(({ metadata }) => metadata.name === pod.metadata.namespace);
  const labels = {
    ...itsNamespace?.metadata.labels,
    'kubernetes.io/metadata.name': pod.metadata.namespace,
  };
  const isOfNamespace =
    namespaceSelector === undefined
      ? pod.metadata.namespace === namespace
      : isSelected(namespaceSelector, labels);
  return isOfNamespace && (podSelector === undefined || isSelected(podSelector, pod.metadata.labels));
}

function isPort(
  { protocol = 'TCP', port, endPort }: NonNullable<ApiRule['ports']>[number],
  flow: Flow,
  answering: ApiPod | undefined,
): boolean {
  if (protocol !== flow.protocol) return false;
  if (port === undefined) return true;
  if (typeof port === 'number') return flow.port >= port && flow.port <= (endPort ?? port);
  return (answering?.spec.containers ?? []).some(({ ports }) =>
    ports.some((one) => one.name === port && one.protocol === protocol && one.containerPort === flow.port),
  );
}

export function isSelected(
  { matchLabels = {}, matchExpressions = [] }: ApiSelector,
  labels: Readonly<Record<string, string>>,
): boolean {
  for (const [key, value] of Object.entries(matchLabels)) if (labels[key] !== value) return false;
  for (const { key, operator, values = [] } of matchExpressions) {
    const value = labels[key];
    if (operator === 'Exists' && value === undefined) return false;
    if (operator === 'DoesNotExist' && value !== undefined) return false;
    if (operator === 'In' && (value === undefined || !values.includes(value))) return false;
    if (operator === 'NotIn' && value !== undefined && values.includes(value)) return false;
  }
  return true;
}

/** Compares the first bits, one by one. */
export function isWithin(address: string, cidr: string): boolean {
  const [network = '', length = '0'] = cidr.split('/');
  if (address.includes(':') !== network.includes(':')) return false;
  return bitsOf(address).slice(0, Number(length)) === bitsOf(network).slice(0, Number(length));
}

function bitsOf(address: string): string {
  if (!address.includes(':'))
    return address
      .split('.')
      .map((part) => Number(part).toString(2).padStart(8, '0'))
      .join('');
  const [head = '', rest] = address.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [before, behind] = [groups(head), groups(rest ?? '')];
  const zeros = Array.from({ length: 8 - before.length - behind.length }, () => '0');
  return [...before, ...(rest === undefined ? [] : zeros), ...behind]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0'))
    .join('');
}
