import { isSelected, isWithin, isolates, isAllowed, podsAt } from './oracle.fixture.ts';
import type { ApiCluster, ApiPod, ApiSelector, Flow } from './oracle.fixture.ts';

/**
 * An oracle for the traffic that ClusterNetworkPolicies and NetworkPolicies allow together, written from the
 * documentation of the API (sigs.k8s.io/network-policy-api, v1alpha2) over its own objects, as naively as
 * possible. It shares no code with what it judges.
 */

export interface ApiNode {
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly status: { readonly addresses: readonly { readonly type: string; readonly address: string }[] };
}

export interface ApiPods {
  readonly namespaceSelector: ApiSelector;
  readonly podSelector: ApiSelector;
}

export interface ApiClusterPeer {
  readonly namespaces?: ApiSelector;
  readonly pods?: ApiPods;
  readonly nodes?: ApiSelector;
  readonly networks?: readonly string[];
}

interface ApiPortMatch {
  readonly destinationPort?: {
    readonly number?: number;
    readonly range?: { readonly start: number; readonly end: number };
  };
}

export interface ApiProtocol {
  readonly tcp?: ApiPortMatch;
  readonly udp?: ApiPortMatch;
  readonly sctp?: ApiPortMatch;
  readonly destinationNamedPort?: string;
}

export interface ApiClusterRule {
  readonly action: 'Accept' | 'Deny' | 'Pass';
  readonly from?: readonly ApiClusterPeer[];
  readonly to?: readonly ApiClusterPeer[];
  readonly protocols?: readonly ApiProtocol[];
}

export interface ApiClusterPolicy {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly tier: 'Admin' | 'Baseline';
    readonly priority: number;
    readonly subject: Pick<ApiClusterPeer, 'namespaces' | 'pods'>;
    readonly ingress?: readonly ApiClusterRule[];
    readonly egress?: readonly ApiClusterRule[];
  };
}

export interface WholeCluster extends ApiCluster {
  readonly clusterPolicies?: readonly ApiClusterPolicy[];
  readonly nodes?: readonly ApiNode[];
}

/** Returns whether policies let the flow leave (egress) or reach (ingress) the pod, one end of it. */
export function isAllowedByAll(
  cluster: WholeCluster,
  pod: ApiPod,
  direction: 'ingress' | 'egress',
  flow: Flow,
): boolean {
  // "If Admin tier has made a final decision (Accept or Deny) on a connection, then no further evaluation is
  // done."
  const admin = decisionOf('Admin', cluster, pod, direction, flow);
  if (admin !== 'Pass') return admin === 'Accept';
  // "v1.NetworkPolicy always makes a final decision for selected pods."
  if (cluster.policies.some((policy) => isolates(policy, pod, direction)))
    return isAllowed(cluster, pod, direction, flow);
  // "All pods can communicate with each other."
  return decisionOf('Baseline', cluster, pod, direction, flow) !== 'Deny';
}

/** "Policies with lower priority values have higher precedence"; rules in their written order. */
function decisionOf(
  tier: ApiClusterPolicy['spec']['tier'],
  cluster: WholeCluster,
  pod: ApiPod,
  direction: 'ingress' | 'egress',
  flow: Flow,
): ApiClusterRule['action'] {
  const policies = (cluster.clusterPolicies ?? [])
    .filter(({ spec }) => spec.tier === tier && arePods(cluster, spec.subject, pod))
    .sort((a, b) => a.spec.priority - b.spec.priority);
  for (const { spec } of policies)
    for (const rule of spec[direction] ?? []) {
      const peers = (direction === 'ingress' ? rule.from : rule.to) ?? [];
      const other = direction === 'ingress' ? flow.from : flow.to;
      const answering = direction === 'ingress' ? [pod] : podsAt(cluster, flow.to);
      if (!peers.some((peer) => isPeer(cluster, peer, other))) continue;
      // A named port is one of the peer that is matched, or of the pod itself.
      const named =
        direction === 'ingress'
          ? answering
          : answering.filter((one) => peers.some((peer) => arePods(cluster, peer, one)));
      if (rule.protocols !== undefined && !rule.protocols.some((one) => isPort(one, flow, named))) continue;
      return rule.action;
    }
  return 'Pass';
}

/** "Note that host-networked pods are not included." */
function arePods(cluster: WholeCluster, { namespaces, pods }: ApiClusterPeer, pod: ApiPod): boolean {
  if (pod.spec.hostNetwork === true) return false;
  const itsNamespace = cluster.namespaces.find(({ metadata }) => metadata.name === pod.metadata.namespace);
  const labels = {
    ...itsNamespace?.metadata.labels,
    'kubernetes.io/metadata.name': pod.metadata.namespace,
  };
  if (namespaces !== undefined) return isSelected(namespaces, labels);
  return (
    pods !== undefined &&
    isSelected(pods.namespaceSelector, labels) &&
    isSelected(pods.podSelector, pod.metadata.labels)
  );
}

function isPeer(cluster: WholeCluster, peer: ApiClusterPeer, address: string): boolean {
  if (peer.networks !== undefined) return peer.networks.some((cidr) => isWithin(address, cidr));
  const { nodes } = peer;
  if (nodes !== undefined)
    return (cluster.nodes ?? []).some(
      ({ metadata, status }) =>
        isSelected(nodes, metadata.labels) && status.addresses.some((one) => one.address === address),
    );
  return podsAt(cluster, address).some((pod) => arePods(cluster, peer, pod));
}

function isPort(
  { tcp, udp, sctp, destinationNamedPort }: ApiProtocol,
  flow: Flow,
  answering: readonly ApiPod[],
): boolean {
  if (destinationNamedPort !== undefined)
    return answering.some(({ spec }) =>
      spec.containers.some(({ ports }) =>
        ports.some(
          (one) =>
            one.name === destinationNamedPort &&
            one.protocol === flow.protocol &&
            one.containerPort === flow.port,
        ),
      ),
    );
  const match = { TCP: tcp, UDP: udp, SCTP: sctp }[flow.protocol];
  if (match === undefined) return false;
  const { number, range } = match.destinationPort ?? {};
  if (range !== undefined) return range.start <= flow.port && flow.port <= range.end;
  return number === undefined || number === flow.port;
}
