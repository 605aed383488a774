import { canonicalIp, contains, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import { wrongAddress } from '../description/short-forms.ts';
import type { Scheduler, Service, ServicePort } from '../model/model.ts';
import { withElsewhere } from './elsewhere.ts';
import { backendsOf, mostTakingOf, withinReach } from './endpoints.ts';
import type { Candidate, MappedPort, Place } from './endpoints.ts';
import { loadBalancerOf } from './load-balancer.ts';
import { hasFamilyOf, slicePort } from './objects.ts';
import type { EndpointSlice, KubernetesPort, KubernetesService } from './objects.ts';

/**
 * Translates a Kubernetes Service and its slices for one node, by kube-proxy's rules
 * (k8s.io/kubernetes/pkg/proxy, `newBaseServiceInfo`). Pure.
 */

export interface Translation {
  readonly services: readonly Service[];
  /** Requests of the Service that are not fulfilled, one sentence each. */
  readonly notes: readonly string[];
}

/** Connections to a deleted pod lead nowhere. They end soon, so that their clients notice. */
const drainGraceSeconds = 30;
const longestGraceSeconds = 86_400;
const schedulers: readonly Scheduler[] = ['rr', 'wrr', 'lc', 'sh', 'maglev'];

/**
 * The most addresses and ports that one Service may have together. Each is a virtual server of this node. The
 * API limits neither `ports` nor `externalIPs`: any author of a Service could make a node create a thousand
 * million of them, which no memory holds. Those beyond the limit are not served, and a note says so.
 */
export const mostServers = 4096;
const mostNotes = 32;

/** Returns the names of our services that one Kubernetes service may become. */
export const namesOf = (name: string): readonly [inside: string, outside: string] => [
  name,
  `${name}.external`,
];

/**
 * Cluster addresses belong to `namespace/name`. Addresses for outside clients have their own backends and
 * source address, and belong to `namespace/name.external`.
 */
export function translate(
  given: KubernetesService,
  slices: Iterable<EndpointSlice>,
  place: Place,
): Translation {
  const notes: string[] = [];
  const { services } = translated(withinBounds(given, notes), slices, place, notes);
  const more = notes.length - mostNotes;
  return { services, notes: more > 0 ? [...notes.slice(0, mostNotes), `${more} more notes`] : notes };
}

/** Returns the service with the ports that fit. Cluster addresses come before all others. */
function withinBounds(service: KubernetesService, notes: string[]): KubernetesService {
  const { clusterIPs, ports } = service;
  const most = Math.max(1, Math.floor(mostServers / clusterIPs.length));
  if (ports.length <= most) return service;
  notes.push(
    `spec.ports: ${most} of ${ports.length} ports are served: a service may have ${mostServers} addresses and ports together`,
  );
  return { ...service, ports: ports.slice(0, most) };
}

/** Addresses of the host at which the node ports of one service are served. */
const mostNodeAddresses = 64;

/** Returns the part of the host's addresses that fits: at most half of the servers of a service. */
function nodeAddressesOf(
  ports: readonly { readonly nodePort?: number | undefined }[],
  { nodePortAddresses: all }: Place,
  notes: string[],
): readonly string[] | undefined {
  if (all === undefined || ports.every(({ nodePort }) => nodePort === undefined)) return all;
  const most = Math.max(1, Math.min(mostNodeAddresses, Math.floor(mostServers / 2 / ports.length)));
  if (all.length <= most) return all;
  notes.push(
    `nodePortAddresses: node ports are served at ${most} of ${all.length} addresses of the node: set prefixes that contain fewer addresses`,
  );
  return all.slice(0, most);
}

/** Returns the addresses that fit. @param taken places for each port that others have */
function fitting(
  field: string,
  addresses: readonly string[],
  ports: number,
  taken: number,
  notes: string[],
): readonly string[] {
  const most = Math.max(0, Math.floor(mostServers / ports) - taken);
  if (addresses.length <= most) return addresses;
  notes.push(
    `${field}: ${most} of ${addresses.length} are served: a service may have ${mostServers} addresses and ports together`,
  );
  return addresses.slice(0, most);
}

/**
 * Returns the endpoints to which connections can lead. The API accepts some addresses to which none can, and
 * one of those would make the whole service refused.
 */
function usableOf(
  service: Pick<KubernetesService, 'clusterIPs'>,
  slices: Iterable<EndpointSlice>,
  notes: string[],
): readonly Candidate[] {
  const wrong: string[] = [];
  const usable = [...slices].flatMap(({ ports, endpoints }) =>
    endpoints.flatMap((endpoint): Candidate[] => {
      if (!hasFamilyOf(service, endpoint.address)) return [];
      const why = service.clusterIPs.includes(endpoint.address)
        ? `${endpoint.address} is a cluster IP of the service itself`
        : wrongAddress(endpoint.address, 'endpoint');
      if (why === undefined) return [{ ...endpoint, ports }];
      wrong.push(why);
      return [];
    }),
  );
  const [first] = wrong;
  if (first !== undefined) notes.push(`${wrong.length} endpoints get no connections: ${first}`);
  return usable;
}

function translated(
  service: KubernetesService,
  slices: Iterable<EndpointSlice>,
  place: Place,
  notes: string[],
): Translation {
  const all = usableOf(service, slices, notes);
  const candidates = withinReach(all, service.ports.length, place);
  if (candidates.length < all.length)
    notes.push(
      `${candidates.length} of ${all.length} endpoints are examined: this is the limit for a service with ${service.ports.length} ports`,
    );
  const [name, externalName] = namesOf(`${service.namespace}/${service.name}`);
  const mapped = service.ports.map((port) => portOf(port, candidates));
  const ports = mapped.map(({ port }) => port);
  const isLocal = service.internalLocal || service.externalLocal;
  /** With the families in which a `Local` policy finds endpoints only on other nodes. */
  const localPorts = isLocal ? mapped.map((each) => withElsewhere(each, candidates, place)) : ports;
  const crowded = ({ port, protocol }: ServicePort, most: number): void => {
    const note = `more than ${most} endpoints of port ${port}/${protocol} are ready: ${most} of them get connections from this node, others from other nodes`;
    if (!notes.includes(note)) notes.push(note);
  };
  const common = {
    scheduler: schedulerOf(service, notes),
    clientAffinity: false,
    ...(service.affinitySeconds !== undefined && { persistenceSeconds: service.affinitySeconds }),
    forwarding: 'nat',
    ...(service.createdAt !== undefined && { createdAt: service.createdAt }),
    drainGraceSeconds: graceOf(service, notes),
  } as const;
  const inside: Service = {
    ...common,
    name,
    addresses: service.clusterIPs,
    externalAddresses: [],
    ports: (service.internalLocal ? localPorts : ports).map(({ nodePort: _nodePort, ...port }) => port),
    sourceAddress: 'keep',
    backends: backendsOf(mapped, candidates, place, {
      local: service.internalLocal,
      most: mostTakingOf(ports.length * service.clusterIPs.length, common.scheduler),
      crowded,
    }),
  };
  // Node ports of both families, or at each address.
  const nodeAddresses = nodeAddressesOf(ports, place, notes);
  const nodePlaces = Math.max(2, nodeAddresses?.length ?? 0);
  const served = servedOf('status.loadBalancer', service.ingressIPs, service, place, notes);
  const ingressIPs = fitting('status.loadBalancer', served, ports.length, nodePlaces, notes);
  const balanced = loadBalancerOf({ ...service, ingressIPs }, place, notes);
  // An address that is also a load balancer address is restricted like one.
  const restricted = new Set(balanced.loadBalancerAddresses);
  const external = externalOf(service, place, notes).filter((address) => !restricted.has(address));
  const externalAddresses = fitting(
    'externalIPs',
    external,
    ports.length,
    nodePlaces + restricted.size,
    notes,
  );
  if (
    externalAddresses.length === 0 &&
    balanced.loadBalancerAddresses === undefined &&
    ports.every(({ nodePort }) => nodePort === undefined)
  )
    return { services: [inside], notes };
  const outside: Service = {
    ...common,
    name: externalName,
    addresses: [],
    externalAddresses,
    ...balanced,
    ...(nodeAddresses !== undefined && { nodeAddresses }),
    // Also while a family has no endpoint: a program of the host must not get the connections.
    ...(ports.some(({ nodePort }) => nodePort !== undefined) && {
      nodeFamilies: ([4, 6] as const).filter((family) =>
        service.clusterIPs.some((text) => parseIp(text)?.family === family),
      ),
    }),
    ports: service.externalLocal ? localPorts : ports,
    ...(service.externalLocal && { insideSources: place.podRanges ?? [] }),
    ...memoryOf(service, [...restricted, ...externalAddresses]),
    // A backend on another node would answer the client directly unless it sees this node as its client.
    sourceAddress: service.externalLocal ? 'keep' : 'masquerade',
    backends: backendsOf(mapped, candidates, place, {
      local: service.externalLocal && 'outside',
      most: mostTakingOf(
        ports.length *
          (externalAddresses.length + restricted.size + nodePlaces) *
          (service.externalLocal ? 2 : 1),
        common.scheduler,
      ),
      crowded,
    }),
  };
  const isTogether =
    outside.rememberedAt === service.clusterIPs || outside.insideRememberedAt === service.clusterIPs;
  return {
    services: [isTogether ? { ...inside, rememberedAt: service.clusterIPs } : inside, outside],
    notes,
  };
}

/**
 * Returns where the clients of the external addresses are remembered. With kube-proxy, a client keeps its
 * endpoint at every address of a port (kube-proxy 1.36, pkg/proxy/nftables/proxier.go, `affinitySetName`).
 * Here it does wherever the same endpoints serve it: at the cluster address if its policy is the same, and at
 * the first external address otherwise.
 */
function memoryOf(
  { affinitySeconds, clusterIPs, internalLocal, externalLocal }: KubernetesService,
  external: readonly string[],
): Pick<Service, 'insideRememberedAt' | 'rememberedAt'> {
  if (affinitySeconds === undefined) return {};
  return {
    rememberedAt: internalLocal === externalLocal ? clusterIPs : external,
    ...(externalLocal && !internalLocal && { insideRememberedAt: clusterIPs }),
  };
}

/**
 * Returns the addresses without those at which no Service may be, because one of those would make the whole
 * service refused.
 */
function servedOf(
  field: string,
  texts: readonly string[],
  service: Pick<KubernetesService, 'clusterIPs'>,
  { reserved = [] }: Place,
  notes: string[],
): string[] {
  if (texts.length === 0) return [];
  const isReserved = (text: string): boolean =>
    reserved.some((each) => canonicalOf(each) === canonicalOf(text));
  return [...new Set(texts)].filter((text) => {
    const why =
      wrongAddress(text, 'virtual') ??
      (isReserved(text)
        ? 'it is the address of the API server, or of the name server of the node'
        : hasFamilyOf(service, text)
          ? undefined
          : `the Service has no IPv${text.includes(':') ? 6 : 4} cluster address`);
    if (why !== undefined) notes.push(`${field}: ${text} is not served: ${why}`);
    return why === undefined;
  });
}

const canonicalOf = (text: string): string => canonicalIp(text) ?? text;

/**
 * Any author of a Service can write external IPs (CVE-2020-8554), so a node may be limited to some prefixes.
 */
function externalOf(service: KubernetesService, place: Place, notes: string[]): string[] {
  const { externalRanges } = place;
  const ranges = externalRanges?.flatMap((text) => parsePrefix(text) ?? []);
  return servedOf('externalIPs', service.externalIPs, service, place, notes).filter((text) => {
    const address = parseIp(text);
    const isAllowed =
      ranges === undefined ||
      ranges.some((range) => range.address.family === address?.family && contains(range, address));
    if (!isAllowed)
      notes.push(
        `externalIPs: ${text} is not served: network.services.kubernetes.externalIPs does not allow it`,
      );
    return isAllowed;
  });
}

/** The number of a named target port is that of the first slice. A backend with another number states it. */
function portOf(
  { name, protocol, port, targetPort, nodePort }: KubernetesPort,
  candidates: readonly Candidate[],
): MappedPort {
  const inSlices = slicePort(name, protocol);
  return {
    inSlices,
    port: {
      name: name === '' ? `${protocol}-${port}` : name,
      protocol,
      port,
      targetPort: targetPort ?? leastOf(inSlices, candidates) ?? port,
      ...(nodePort !== undefined && { nodePort }),
    },
  };
}

function leastOf(inSlices: string, candidates: readonly Candidate[]): number | undefined {
  let least: number | undefined;
  for (const { ports } of candidates) {
    const number = ports[inSlices];
    if (number !== undefined && (least === undefined || number < least)) least = number;
  }
  return least;
}

function schedulerOf({ annotations }: KubernetesService, notes: string[]): Scheduler {
  const asked = annotations['scheduler'];
  const scheduler = schedulers.find((one) => one === asked);
  if (asked !== undefined && scheduler === undefined)
    notes.push(
      `portcullis.dev/scheduler is ${JSON.stringify(asked)}, which is not one of ${schedulers.join(', ')}: rr is used`,
    );
  return scheduler ?? 'rr';
}

function graceOf({ annotations }: KubernetesService, notes: string[]): number {
  const asked = annotations['drain-grace-seconds'];
  if (asked === undefined) return drainGraceSeconds;
  const seconds = /^\d{1,6}$/u.test(asked) ? Number(asked) : Infinity;
  if (seconds <= longestGraceSeconds) return seconds;
  const range = `not a whole number of seconds from 0 to ${longestGraceSeconds}`;
  notes.push(
    `portcullis.dev/drain-grace-seconds is ${JSON.stringify(asked)}, ${range}: ${drainGraceSeconds} is used`,
  );
  return drainGraceSeconds;
}
