import { canonicalIp, parseIp } from '../../base/addresses/index.ts';
import { fieldsOf, listOf, nameOf, textOf } from '../../base/kubernetes/index.ts';
import type { ObjectFields } from '../../base/kubernetes/index.ts';

/**
 * The parts of Services and EndpointSlices that names depend on (v1 Service, discovery.k8s.io/v1
 * EndpointSlice). A field that does not have its expected type is ignored. Names are in lower case, because
 * queries are compared without case.
 */

export interface NamedService {
  readonly namespace: string;
  readonly name: string;
  /** Cluster addresses in canonical text. Empty: headless, or an alias. */
  readonly addresses: readonly string[];
  /** The name that the service is an alias of, in lower case without the final dot. */
  readonly externalName?: string;
  readonly ports: readonly NamedPort[];
  /** Endpoints count whether they are ready or not. */
  readonly unready: boolean;
}

export interface NamedPort {
  readonly name: string;
  /** `tcp`, `udp` or `sctp`. */
  readonly protocol: string;
  readonly port: number;
}

export interface NamedSlice {
  readonly namespace: string;
  /** The service, from the label. */
  readonly service: string;
  readonly ports: readonly NamedPort[];
  readonly endpoints: readonly NamedEndpoint[];
}

export interface NamedEndpoint {
  /** In canonical text. */
  readonly address: string;
  /** Absent: the address identifies the endpoint. */
  readonly hostname?: string;
  readonly ready: boolean;
}

/** RFC 1035, section 2.3.4. */
const longestLabel = 63;
const longestName = 253;
const label = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/u;
const isLabel = (text: string): boolean => text.length <= longestLabel && label.test(text);
/** A label of a name elsewhere may have an underscore. */
const foreignLabel = /^[a-z0-9_-]+$/u;

/** Returns undefined for a service without any name: one whose cluster address is not assigned yet. */
export function readNamedService(object: unknown): NamedService | undefined {
  const { metadata, spec } = fieldsOf(object);
  const { namespace, name } = fieldsOf(metadata);
  if (nameOf(object) === undefined) return undefined;
  const [ownNamespace, ownName] = [textOf(namespace).toLowerCase(), textOf(name).toLowerCase()];
  if (!isLabel(ownNamespace) || !isLabel(ownName)) return undefined;
  const fields = fieldsOf(spec);
  const common = {
    namespace: ownNamespace,
    name: ownName,
    ports: portsOf(fields['ports']),
    unready: fields['publishNotReadyAddresses'] === true,
  };
  if (fields['type'] === 'ExternalName') {
    const externalName = textOf(fields['externalName']).toLowerCase().replace(/\.$/u, '');
    const labels = externalName.split('.');
    // Kubernetes accepts an address as a name, and documents that name servers do not resolve it.
    const isName =
      parseIp(externalName) === undefined &&
      externalName.length <= longestName &&
      labels.every((each) => each.length <= longestLabel && foreignLabel.test(each));
    return isName ? { ...common, addresses: [], externalName } : undefined;
  }
  const first = fields['clusterIP'];
  if (first === 'None') return { ...common, addresses: [] };
  const given = fields['clusterIPs'] === undefined ? [first] : listOf(fields['clusterIPs']);
  const addresses = given.flatMap((text) => canonicalIp(textOf(text)) ?? []);
  return addresses.length === 0 ? undefined : { ...common, addresses };
}

function portsOf(value: unknown): readonly NamedPort[] {
  return listOf(value)
    .map(fieldsOf)
    .flatMap((fields: ObjectFields) => {
      const { name, protocol, port } = fields;
      const isPort = typeof port === 'number' && Number.isInteger(port) && port > 0 && port < 65_536;
      return isPort
        ? [{ name: textOf(name).toLowerCase(), protocol: textOf(protocol ?? 'TCP').toLowerCase(), port }]
        : [];
    });
}

/** Returns undefined for a slice without a service, or with names in place of addresses. */
export function readNamedSlice(object: unknown): NamedSlice | undefined {
  const { metadata, addressType, ports, endpoints } = fieldsOf(object);
  const { namespace, labels } = fieldsOf(metadata);
  const service = textOf(fieldsOf(labels)['kubernetes.io/service-name']).toLowerCase();
  if (nameOf(object) === undefined || service === '' || (addressType !== 'IPv4' && addressType !== 'IPv6'))
    return undefined;
  return {
    namespace: textOf(namespace).toLowerCase(),
    service,
    ports: portsOf(ports),
    endpoints: listOf(endpoints).flatMap((entry) => endpointsOf(fieldsOf(entry))),
  };
}

/** Returns an endpoint for each address. */
function endpointsOf(fields: ObjectFields): readonly NamedEndpoint[] {
  const hostname = textOf(fields['hostname']).toLowerCase();
  const common = {
    // An absent condition means ready (discovery.k8s.io/v1, EndpointConditions).
    ready: fieldsOf(fields['conditions'])['ready'] !== false,
    ...(isLabel(hostname) && { hostname }),
  };
  return listOf(fields['addresses']).flatMap((text) => {
    const address = canonicalIp(textOf(text));
    return address === undefined ? [] : [{ address, ...common }];
  });
}
