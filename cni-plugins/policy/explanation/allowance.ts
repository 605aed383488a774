import type { AttachmentRecord } from '../../database/record.ts';
import { bitsOf, formatIp } from '../../../base/addresses/index.ts';
import type { IpAddress } from '../../../base/addresses/index.ts';
import type { LinkRule } from '../../types.ts';
import type { Direction } from '../rules/pod-chains.ts';

/** A connection as one of its ends sees it. */
export interface Seen {
  readonly direction: Direction;
  readonly peer: IpAddress;
  /** Whether the peer is the node itself. */
  readonly peerIsHost: boolean;
  readonly peerPod?: PeerPod;
  readonly protocol: LinkRule['protocol'];
  /** Port of the responder; for icmp: type * 256 + code. */
  readonly port: number;
}

/** A peer that is a pod of this node. */
export interface PeerPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * Returns what would let the connection pass, ready to paste: lines of a profile, or a NetworkPolicy. It
 * allows no more than the question asked for. Pure.
 */
export function allowanceOf(layer: 'policies' | 'profile', record: AttachmentRecord, seen: Seen): string {
  return layer === 'profile' ? ofProfile(seen) : ofPolicy(record, seen);
}

/** See docs/profiles.md, "Peers". */
function ofProfile({ direction, peer, protocol, port }: Seen): string {
  const spoken = protocol === 'icmp' ? 'icmp' : `${port}/${protocol}`;
  return `in a profile of its containers (the ceiling must also allow it):\nnetwork:\n  ${direction}:\n    - { ${direction === 'egress' ? 'to' : 'from'}: ${JSON.stringify(formatIp(peer))}, ports: [${spoken}] }`;
}

/** Writes networking.k8s.io/v1. JSON within YAML keeps any label a string. */
function ofPolicy({ spec }: AttachmentRecord, { direction, peer, peerPod, protocol, port }: Seen): string {
  const side = direction === 'egress' ? 'to' : 'from';
  const labels = spec.pod.labels ?? {};
  const who =
    peerPod === undefined
      ? { ipBlock: { cidr: `${formatIp(peer)}/${bitsOf(peer.family)}` } }
      : {
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': peerPod.namespace } },
          podSelector: selector(peerPod.labels),
        };
  // NetworkPolicies cannot name ICMP: only a rule without ports grants it.
  const ports =
    protocol === 'icmp'
      ? []
      : [`      ports: [${JSON.stringify({ protocol: protocol.toUpperCase(), port })}]`];
  return [
    'as a NetworkPolicy in the cluster, or in the folder network.policies:',
    'apiVersion: networking.k8s.io/v1',
    'kind: NetworkPolicy',
    `metadata: ${JSON.stringify({ name: `allow-${direction}-${protocol}${protocol === 'icmp' ? '' : `-${port}`}`, namespace: spec.pod.namespace })}`,
    'spec:',
    `  podSelector: ${JSON.stringify(selector(labels))}`,
    `  policyTypes: [${direction === 'egress' ? 'Egress' : 'Ingress'}]`,
    `  ${direction}:`,
    `    - ${side}: [${JSON.stringify(who)}]`,
    ...ports,
  ].join('\n');
}

/** Labels that Kubernetes sets per pod or revision. They would bind the policy to one pod or revision. */
const ofOne = [
  'pod-template-hash',
  'controller-revision-hash',
  'statefulset.kubernetes.io/pod-name',
  'controller-uid',
  'job-name',
];

function selector(labels: Readonly<Record<string, string>>): object {
  const kept = Object.entries(labels).filter(
    ([name]) => !ofOne.includes(name) && !name.startsWith('batch.kubernetes.io/'),
  );
  return kept.length === 0 ? {} : { matchLabels: Object.fromEntries(kept) };
}
