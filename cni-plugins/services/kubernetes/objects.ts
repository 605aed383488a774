import { isIP } from 'node:net';
import { formatIp, parseIp, withoutLeadingZeros } from '../../../base/addresses/index.ts';
import type { Protocol } from '../model/model.ts';
import { fieldsOf, listOf, nameOf, textOf } from '../../../base/kubernetes/index.ts';
import type { ObjectFields } from '../../../base/kubernetes/index.ts';

/**
 * The parts of Kubernetes objects that are kept: only those that decide where a connection goes. They are
 * read from the API's JSON (v1 Service, discovery.k8s.io/v1 EndpointSlice). A field that does not have its
 * expected type is ignored.
 */

export interface KubernetesService {
  readonly namespace: string;
  readonly name: string;
  readonly clusterIPs: readonly string[];
  readonly externalIPs: readonly string[];
  /** Addresses of the load balancer, if packets arrive with them as destination (`ipMode: VIP`). */
  readonly ingressIPs: readonly string[];
  readonly sourceRanges: readonly string[];
  readonly ports: readonly KubernetesPort[];
  /** From `sessionAffinity: ClientIP`. */
  readonly affinitySeconds?: number;
  readonly externalLocal: boolean;
  readonly internalLocal: boolean;
  readonly healthCheckNodePort?: number;
  /** Milliseconds since 1970. */
  readonly createdAt?: number;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface KubernetesPort {
  /** As in the slices; '' for a single port without a name. */
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** Absent: the target port is named, and each slice has its own number. */
  readonly targetPort?: number;
  readonly nodePort?: number;
}

export interface EndpointSlice {
  readonly namespace: string;
  readonly name: string;
  /** The name of the service, from the label. */
  readonly service: string;
  /** Numbers by name and protocol, as {@link slicePort} writes them. */
  readonly ports: Readonly<Record<string, number>>;
  readonly endpoints: readonly Endpoint[];
}

/** Returns the key of a port in a slice: kube-proxy finds a service's port by name and protocol. */
export const slicePort = (name: string, protocol: Protocol): string => `${name}/${protocol}`;

export interface Endpoint {
  readonly address: string;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly node?: string;
  /** The nodes and zones for whose clients the cluster intends the endpoint. Absent: no hint. */
  readonly forNodes?: readonly string[];
  readonly forZones?: readonly string[];
}

/** The prefix of our annotations. */
export const annotationPrefix = 'portcullis.dev/';

/** The label of a slice that names its service. */
export const serviceNameLabel = 'kubernetes.io/service-name';

/** kube-proxy's selector: the server does not even send services of another proxy or headless services. */
export const labelSelector = '!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless';

/** Shared by all objects that have none, because there are thousands. */
const none: readonly string[] = Object.freeze([]);
const noAnnotations: Readonly<Record<string, string>> = Object.freeze({});
const textsOf = (value: unknown): readonly string[] =>
  value === undefined ? none : listOf(value).filter((entry) => typeof entry === 'string');
const portOf = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65536 ? value : undefined;
/** The range that the API allows. */
const secondsOf = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= 86_400 ? value : undefined;
/** Whether the service has a cluster address of the family. In a family without one, it is not served. */
export const hasFamilyOf = (
  { clusterIPs }: Pick<KubernetesService, 'clusterIPs'>,
  address: string,
): boolean => clusterIPs.some((each) => each.includes(':') === address.includes(':'));

const addressesOf = (value: unknown): readonly string[] =>
  value === undefined
    ? none
    : textsOf(value)
        .map(withoutLeadingZeros)
        .filter((text) => isIP(text) !== 0);

const protocols: Readonly<Record<string, Protocol>> = { TCP: 'tcp', UDP: 'udp', SCTP: 'sctp' };

/**
 * Returns undefined if there is nothing to balance, as in kube-proxy: no cluster address (headless,
 * ExternalName), or no port.
 */
export function readService(object: unknown): KubernetesService | undefined {
  const { metadata, spec, status } = fieldsOf(object);
  const { namespace, name, annotations, creationTimestamp } = fieldsOf(metadata);
  const createdAt = Date.parse(textOf(creationTimestamp));
  const fields = fieldsOf(spec);
  if (nameOf(object) === undefined || fields['type'] === 'ExternalName') return undefined;
  const first = fields['clusterIP'];
  if (first === 'None' || first === '' || first === undefined) return undefined;
  const clusterIPs = addressesOf(fields['clusterIPs'] ?? [first]);
  const ports = listOf(fields['ports']).flatMap((entry) => readPort(fieldsOf(entry)) ?? []);
  if (clusterIPs.length === 0 || ports.length === 0) return undefined;
  const affinity = fieldsOf(fieldsOf(fields['sessionAffinityConfig'])['clientIP'])['timeoutSeconds'];
  const externalLocal = fields['externalTrafficPolicy'] === 'Local';
  // kube-proxy's NeedsHealthCheck: a service that is no longer a load balancer may still have the field.
  const healthCheckNodePort =
    externalLocal && fields['type'] === 'LoadBalancer' ? portOf(fields['healthCheckNodePort']) : undefined;
  return {
    namespace: textOf(namespace),
    name: textOf(name),
    clusterIPs,
    externalIPs: addressesOf(fields['externalIPs']),
    ingressIPs: ingressOf(status),
    // API validation accepts spaces around them.
    sourceRanges: textsOf(fields['loadBalancerSourceRanges']).map((range) =>
      range.trim().replace(/^[^/]+/u, withoutLeadingZeros),
    ),
    ports,
    // Three hours, the API's default.
    ...(fields['sessionAffinity'] === 'ClientIP' && { affinitySeconds: secondsOf(affinity) ?? 10_800 }),
    externalLocal,
    internalLocal: fields['internalTrafficPolicy'] === 'Local',
    ...(healthCheckNodePort !== undefined && { healthCheckNodePort }),
    ...(Number.isFinite(createdAt) && { createdAt }),
    annotations: annotationsOf(fieldsOf(annotations)),
  };
}

function ingressOf(status: unknown): readonly string[] {
  const { ingress } = fieldsOf(fieldsOf(status)['loadBalancer']);
  if (ingress === undefined) return none;
  return listOf(ingress)
    .map(fieldsOf)
    .filter((one) => (one['ipMode'] ?? 'VIP') === 'VIP')
    .flatMap((one) => addressesOf([one['ip']]));
}

function annotationsOf(annotations: ObjectFields): Readonly<Record<string, string>> {
  const ours = Object.entries(annotations).flatMap(([key, value]) =>
    key.startsWith(annotationPrefix) && typeof value === 'string'
      ? [[key.slice(annotationPrefix.length), value] as const]
      : [],
  );
  return ours.length === 0 ? noAnnotations : Object.fromEntries(ours);
}

function readPort(fields: ObjectFields): KubernetesPort | undefined {
  const protocol = protocols[textOf(fields['protocol'] ?? 'TCP')];
  const port = portOf(fields['port']);
  if (protocol === undefined || port === undefined) return undefined;
  const targetPort = portOf(fields['targetPort']);
  const nodePort = portOf(fields['nodePort']);
  return {
    name: textOf(fields['name']),
    protocol,
    port,
    ...(targetPort !== undefined && { targetPort }),
    ...(nodePort !== undefined && { nodePort }),
  };
}

/** Returns undefined if the slice belongs to no service, or has names instead of addresses. */
export function readSlice(object: unknown): EndpointSlice | undefined {
  const { metadata, addressType, ports, endpoints } = fieldsOf(object);
  const { namespace, name, labels } = fieldsOf(metadata);
  const service = textOf(fieldsOf(labels)[serviceNameLabel]);
  if (nameOf(object) === undefined || service === '' || (addressType !== 'IPv4' && addressType !== 'IPv6'))
    return undefined;
  const family = addressType === 'IPv4' ? 4 : 6;
  return {
    namespace: textOf(namespace),
    name: textOf(name),
    service,
    ports: Object.fromEntries(
      listOf(ports)
        .map(fieldsOf)
        .flatMap((fields) => {
          const port = portOf(fields['port']);
          const protocol = protocols[textOf(fields['protocol'] ?? 'TCP')];
          return port === undefined || protocol === undefined
            ? []
            : [[slicePort(textOf(fields['name']), protocol), port]];
        }),
    ),
    endpoints: listOf(endpoints).flatMap((entry) => readEndpoint(fieldsOf(entry), family) ?? []),
  };
}

/** Two slices may write one address of IPv6 differently, and its end may be written as IPv4. */
function canonicalOf(address: string): string {
  const plain = parseIp(address);
  if (plain !== undefined) return formatIp(plain);
  const url = URL.parse(`http://[${address}]/`);
  return url === null ? address : url.hostname.slice(1, -1);
}

function readEndpoint(fields: ObjectFields, family: number): Endpoint | undefined {
  // All addresses mean the same endpoint, and only the first may be used (discovery.k8s.io/v1,
  // Endpoint.addresses).
  const first = listOf(fields['addresses']).find((entry) => typeof entry === 'string');
  if (first === undefined) return undefined;
  const written = withoutLeadingZeros(first);
  if (isIP(written) !== family) return undefined;
  const address = family === 4 ? written : canonicalOf(written);
  const conditions = fieldsOf(fields['conditions']);
  const ready = conditions['ready'] !== false;
  const hints = fieldsOf(fields['hints']);
  const named = (value: unknown): string[] => listOf(value).map((entry) => textOf(fieldsOf(entry)['name']));
  return {
    address,
    ready,
    // Missing conditions mean serving, and not terminating.
    serving: conditions['serving'] !== false,
    terminating: conditions['terminating'] === true,
    ...(typeof fields['nodeName'] === 'string' && { node: fields['nodeName'] }),
    ...(Array.isArray(hints['forNodes']) && { forNodes: named(hints['forNodes']) }),
    ...(Array.isArray(hints['forZones']) && { forZones: named(hints['forZones']) }),
  };
}
