import type { Backend, Scheduler, Service, ServicePort } from '../model.ts';
import type { Endpoint, EndpointSlice, KubernetesPort, KubernetesService } from './objects.ts';

/**
 * What a Service of Kubernetes and its slices mean on one node, by kube-proxy's rules (k8s.io/kubernetes/pkg/proxy/topology.go says them
 * best). Pure.
 */

export interface Place {
  readonly nodeName: string;
  /** Of the node; absent: hints for zones are not followed. */
  readonly zone?: string;
}

export interface Translation {
  readonly services: readonly Service[];
  /** What was asked for and is not done, a sentence each. */
  readonly notes: readonly string[];
}

/** Connections to a pod that is gone lead nowhere: they end soon, so that their clients know. */
const drainGraceSeconds = 30;
const longestGraceSeconds = 86_400;
const schedulers: readonly Scheduler[] = ['rr', 'wrr', 'lc', 'sh', 'maglev'];

/** A slice's endpoint with the slice's ports. */
interface Candidate extends Endpoint {
  readonly ports: Readonly<Record<string, number>>;
}

/** What services of ours one of Kubernetes may be, by its name. */
export const namesOf = (name: string): readonly [inside: string, outside: string] => [name, `${name}.external`];

/** Cluster addresses are `namespace/name`; what is reached from outside has backends and a source address of its own: `namespace/name.external`. */
export function translate(service: KubernetesService, slices: Iterable<EndpointSlice>, place: Place): Translation {
  const notes: string[] = [];
  const candidates = [...slices].flatMap(({ ports, endpoints }) => endpoints.map((endpoint): Candidate => ({ ...endpoint, ports })));
  const [name, externalName] = namesOf(`${service.namespace}/${service.name}`);
  const mapped = service.ports.map((port) => portOf(port, candidates));
  const ports = mapped.map(({ port }) => port);
  // Each family by itself, as kube-proxy does: what is ready of one says nothing of the other.
  const families = [candidates.filter((each) => !isIpv6(each)), candidates.filter(isIpv6)];
  const backendsOf = (local: boolean): readonly Backend[] =>
    families.flatMap((own) => backends(service, mapped, local ? own.filter(({ node }) => node === place.nodeName) : nearest(own, place)));
  const common = {
    scheduler: schedulerOf(service, notes),
    clientAffinity: false,
    ...(service.affinitySeconds !== undefined && { persistenceSeconds: service.affinitySeconds }),
    forwarding: 'nat',
    drainGraceSeconds: graceOf(service, notes),
  } as const;
  const inside: Service = {
    ...common,
    name,
    addresses: service.clusterIPs,
    externalAddresses: [],
    ports: ports.map(({ nodePort: _nodePort, ...port }) => port),
    sourceAddress: 'keep',
    backends: backendsOf(service.internalLocal),
  };
  const externalAddresses = [...new Set([...service.externalIPs, ...ingressOf(service, notes)])];
  if (externalAddresses.length === 0 && ports.every(({ nodePort }) => nodePort === undefined)) return { services: [inside], notes };
  const outside: Service = {
    ...common,
    name: externalName,
    addresses: [],
    externalAddresses,
    ports,
    // A backend on another node would answer the client by itself, unless it sees this node as its client.
    sourceAddress: service.externalLocal ? 'keep' : 'masquerade',
    backends: backendsOf(service.externalLocal),
  };
  return { services: [inside, outside], notes };
}

const isIpv6 = ({ address }: Endpoint): boolean => address.includes(':');

/** How many endpoints of this node would get a new connection, of the family that has more: what a health check of a load balancer asks. */
export function localReady(slices: Iterable<EndpointSlice>, nodeName: string): number {
  const local = [...slices].flatMap(({ endpoints }) => endpoints.filter(({ ready, node }) => ready && node === nodeName));
  const count = (endpoints: readonly Endpoint[]): number => new Set(endpoints.map(({ address }) => address)).size;
  return Math.max(count(local.filter(isIpv6)), count(local.filter((each) => !isIpv6(each))));
}

/** A service's port, and its name in the slices. */
interface MappedPort {
  readonly inSlices: string;
  readonly port: ServicePort;
}

/** A named target port is what the first of the slices says; a backend that differs says so itself. */
function portOf({ name, protocol, port, targetPort, nodePort }: KubernetesPort, candidates: readonly Candidate[]): MappedPort {
  const said = candidates.flatMap(({ ports }) => (Object.hasOwn(ports, name) ? [ports[name] ?? port] : []));
  return {
    inSlices: name,
    port: {
      name: name === '' ? `${protocol}-${port}` : name,
      protocol,
      port,
      targetPort: targetPort ?? (said.length === 0 ? port : Math.min(...new Set(said))),
      ...(nodePort !== undefined && { nodePort }),
    },
  };
}

/**
 * Those that the cluster means for clients of this node, or of its zone: where every ready endpoint has such a hint and one of them is for
 * us, else all.
 */
function nearest(candidates: readonly Candidate[], { nodeName, zone }: Place): readonly Candidate[] {
  const ready = candidates.filter((candidate) => candidate.ready);
  const followed = (hintsOf: (candidate: Candidate) => readonly string[] | undefined, own: string | undefined): boolean =>
    own !== undefined &&
    ready.every((candidate) => (hintsOf(candidate)?.length ?? 0) > 0) &&
    ready.some((candidate) => hintsOf(candidate)?.includes(own) === true);
  const nodes = (candidate: Candidate): readonly string[] | undefined => candidate.forNodes;
  const zones = (candidate: Candidate): readonly string[] | undefined => candidate.forZones;
  if (followed(nodes, nodeName)) return candidates.filter((candidate) => !candidate.ready || nodes(candidate)?.includes(nodeName) === true);
  if (zone !== undefined && followed(zones, zone))
    return candidates.filter((candidate) => !candidate.ready || zones(candidate)?.includes(zone) === true);
  return candidates;
}

/**
 * The ready ones get new connections; where there are none, those that end and still serve. Others keep the connections that they have: one
 * that ends for its own grace, and one that fails its readiness probe until it is well again. Over UDP nothing tells a connection's end: the
 * client of a backend that does not serve must come to another.
 */
function backends({ ports }: KubernetesService, mapped: readonly MappedPort[], candidates: readonly Candidate[]): readonly Backend[] {
  const anyReady = candidates.some(({ ready }) => ready);
  const udp = ports.some(({ protocol }) => protocol === 'udp');
  const found = new Map<string, Backend>();
  for (const candidate of candidates) {
    const fallback = candidate.serving && candidate.terminating;
    const serves = anyReady ? candidate.ready : fallback;
    if (!serves && !fallback && (udp || candidate.terminating)) continue;
    const without = mapped.filter(({ inSlices }) => !Object.hasOwn(candidate.ports, inSlices)).map(({ port }) => port.name);
    if (without.length === mapped.length) continue;
    const differing = mapped.flatMap(({ inSlices, port }) => {
      const number = candidate.ports[inSlices];
      return number === undefined || number === port.targetPort ? [] : [[port.name, number] as const];
    });
    const identity = `${candidate.address} ${mapped.map(({ inSlices }) => candidate.ports[inSlices] ?? '').join(' ')}`;
    // An endpoint that moves between slices stands in both for a moment.
    if (found.has(identity) && !serves) continue;
    found.set(identity, {
      address: candidate.address,
      ...(differing.length > 0 && { ports: Object.fromEntries(differing) }),
      ...(without.length > 0 && { without }),
      ...(!serves && { weight: 0 }),
    });
  }
  // In an order of their own, so that what only moved is no change.
  return [...found].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, backend]) => backend);
}

function schedulerOf({ annotations }: KubernetesService, notes: string[]): Scheduler {
  const asked = annotations['scheduler'];
  const scheduler = schedulers.find((one) => one === asked);
  if (asked !== undefined && scheduler === undefined)
    notes.push(`portcullis.dev/scheduler is ${JSON.stringify(asked)}, which is none of ${schedulers.join(', ')}: rr is used`);
  return scheduler ?? 'rr';
}

function graceOf({ annotations }: KubernetesService, notes: string[]): number {
  const asked = annotations['drain-grace-seconds'];
  if (asked === undefined) return drainGraceSeconds;
  const seconds = /^\d{1,6}$/u.test(asked) ? Number(asked) : Infinity;
  if (seconds <= longestGraceSeconds) return seconds;
  const range = `no whole number of seconds from 0 to ${longestGraceSeconds}`;
  notes.push(`portcullis.dev/drain-grace-seconds is ${JSON.stringify(asked)}, ${range}: ${drainGraceSeconds} is used`);
  return drainGraceSeconds;
}

/** Source ranges are a promise that nobody else gets in; who can not keep it must let nobody in. */
function ingressOf({ ingressIPs, sourceRanges }: KubernetesService, notes: string[]): readonly string[] {
  const restricts = sourceRanges.length > 0 && !['0.0.0.0/0', '::/0'].some((everybody) => sourceRanges.includes(everybody));
  if (!restricts || ingressIPs.length === 0) return ingressIPs;
  notes.push('loadBalancerSourceRanges are not enforced here: the addresses of its load balancer are not served');
  return [];
}
