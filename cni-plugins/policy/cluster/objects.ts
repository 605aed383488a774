import { canonicalIp, formatIp, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import { fieldsOf, listOf, nameOf, textOf } from '../../../base/kubernetes/index.ts';
import type { NamedPort } from '../../types.ts';
import type { Labels } from '../kubernetes/network-policy.ts';
import type { PeerPod } from '../kubernetes/peer-index.ts';

/**
 * The parts of Kubernetes objects that policies need, read from the API's JSON (v1 Pod and Namespace). A
 * field that does not have its expected type is ignored.
 */

export interface ClusterPod extends PeerPod {
  /** The UID that the kubelet gives the pod: for a static pod, it is not the UID of its mirror in the API. */
  readonly uid: string;
  readonly nodeName: string;
  /** The pod has no address of its own: its addresses are those of its node. */
  readonly hostNetwork: boolean;
}

export interface ClusterNode {
  readonly labels: Labels;
  /** `metadata.creationTimestamp`: RFC 3339 in UTC, sortable as text. */
  readonly created: string;
  readonly uid: string;
  /** `spec.podCIDRs`: the addresses of its pods. As text, without those that are not prefixes. */
  readonly subnets: readonly string[];
  /** `status.addresses`, canonical, without names. */
  readonly addresses: readonly string[];
}

/** The server does not even send pods that have ended: their addresses may be those of other pods. */
export const podFields = 'status.phase!=Succeeded,status.phase!=Failed';

const ended: ReadonlySet<unknown> = new Set(['Succeeded', 'Failed']);
const protocols: Readonly<Record<string, NamedPort['protocol']>> = { TCP: 'tcp', UDP: 'udp', SCTP: 'sctp' };
/**
 * The UID that a kubelet gives a static pod, a digest. Anyone who creates pods can write the annotation of a
 * mirror: it must not name a pod of the API, whose UID has another form.
 */
const staticUid = /^[0-9a-f]{32}$/u;
const noPorts: readonly NamedPort[] = Object.freeze([]);

/**
 * Limits of one pod, far above what pods have. An API server accepts more than 100,000 labels for one pod,
 * and every node of the cluster follows every pod.
 */
export const [mostLabels, mostNamedPorts] = [128, 256];
const unknownLabels = { labels: {}, namedPorts: noPorts, labelsUnknown: true } as const;

/**
 * Returns the pod. Beyond a limit, its labels count as unknown: all of them decide which policies select it.
 */
export function withinLimits(pod: ClusterPod): ClusterPod {
  const isWithin = Object.keys(pod.labels).length <= mostLabels && pod.namedPorts.length <= mostNamedPorts;
  return isWithin ? pod : { ...pod, ...unknownLabels };
}

/**
 * Returns a reader of pods. Texts that many pods share are kept once.
 * @returns undefined for a pod that has ended: its address does not count any more
 */
export function createPodReader(): (object: unknown) => ClusterPod | undefined {
  const shared = createSharedTexts();
  return (object) => {
    const { metadata, spec, status } = fieldsOf(object);
    const { phase, podIPs, podIP } = fieldsOf(status);
    if (nameOf(object) === undefined || ended.has(phase)) return undefined;
    const { uid, namespace, labels, annotations } = fieldsOf(metadata);
    const { nodeName, hostNetwork, containers, initContainers } = fieldsOf(spec);
    const mirrored = textOf(fieldsOf(annotations)['kubernetes.io/config.mirror']);
    const written = listOf(podIPs).map((one) => textOf(fieldsOf(one)['ip']));
    const given = written.length > 0 ? written : [textOf(podIP)];
    const addresses = given.flatMap((text) => canonicalIp(text) ?? []);
    const ports = readPorts([...listOf(initContainers), ...listOf(containers)], shared);
    const isWithin = Object.keys(fieldsOf(labels)).length <= mostLabels && ports.length <= mostNamedPorts;
    return {
      namespace: shared(textOf(namespace)),
      uid: staticUid.test(mirrored) ? mirrored : textOf(uid),
      nodeName: shared(textOf(nodeName)),
      hostNetwork: hostNetwork === true,
      ...(isWithin ? { labels: readLabels(labels, shared), namedPorts: ports } : unknownLabels),
      addresses: [...new Set(addresses)],
    };
  };
}

/** The API server accepts one subnet for each family. */
const mostSubnets = 2;
/** More than any node has. */
const mostAddresses = 32;

/** Returns what counts of a Node (v1 Node); undefined when the object has no name. */
export function readNode(object: unknown): ClusterNode | undefined {
  if (nameOf(object) === undefined) return undefined;
  const { metadata, spec, status } = fieldsOf(object);
  const { labels, creationTimestamp, uid } = fieldsOf(metadata);
  const { podCIDRs, podCIDR } = fieldsOf(spec);
  const subnets = listOf(podCIDRs).length > 0 ? listOf(podCIDRs) : [podCIDR];
  const addresses = listOf(fieldsOf(status)['addresses'])
    .slice(0, mostAddresses)
    .flatMap((one) => parseIp(textOf(fieldsOf(one)['address'])) ?? [])
    .map(formatIp);
  return {
    labels: readLabels(labels, (text) => text),
    created: textOf(creationTimestamp),
    uid: textOf(uid),
    subnets: subnets
      .slice(0, mostSubnets)
      .map((text) => textOf(text).slice(0, 64))
      .filter((text) => parsePrefix(text) !== undefined),
    addresses: [...new Set(addresses)],
  };
}

/** Returns the labels of a Namespace; undefined when the object has none of this form. */
export function readNamespace(object: unknown): Labels | undefined {
  if (nameOf(object) === undefined) return undefined;
  return readLabels(fieldsOf(fieldsOf(object)['metadata'])['labels'], (text) => text);
}

function readLabels(value: unknown, shared: (text: string) => string): Labels {
  return Object.fromEntries(
    Object.entries(fieldsOf(value)).flatMap(([key, text]) =>
      typeof text === 'string' ? [[shared(key), shared(text)]] : [],
    ),
  );
}

function readPorts(containers: readonly unknown[], shared: (text: string) => string): readonly NamedPort[] {
  const ports = containers.flatMap((container) =>
    listOf(fieldsOf(container)['ports']).flatMap((entry): NamedPort[] => {
      const { name, containerPort, protocol = 'TCP' } = fieldsOf(entry);
      const spoken = protocols[textOf(protocol)];
      if (typeof name !== 'string' || name === '' || spoken === undefined) return [];
      if (typeof containerPort !== 'number' || !(containerPort > 0 && containerPort < 65_536)) return [];
      return [{ name: shared(name), protocol: spoken, port: containerPort }];
    }),
  );
  return ports.length === 0 ? noPorts : ports;
}

/** More distinct texts than these are not worth keeping: they belong to one pod each. */
const mostShared = 50_000;

function createSharedTexts(): (text: string) => string {
  const known = new Map<string, string>();
  return (text) => {
    const found = known.get(text);
    if (found !== undefined) return found;
    if (known.size >= mostShared) known.clear();
    known.set(text, text);
    return text;
  };
}
