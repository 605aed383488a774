import { largest } from '../../../base/lists/index.ts';
import { maxBackends } from '../description/schema.ts';
import type { Backend, Family, Scheduler, ServicePort } from '../model/model.ts';
import { mostMaglevSlots } from '../slots/maglev.ts';
import { inOwnOrder, placesInOwnOrder } from '../slots/own-order.ts';
import { mostSlots, usualSlots } from '../slots/sizes.ts';
import type { Endpoint, EndpointSlice, KubernetesService } from './objects.ts';

/**
 * Selects the endpoints that a port of a Service has on one node, by kube-proxy's rules
 * (k8s.io/kubernetes/pkg/proxy/topology.go, `CategorizeEndpoints`). The rules apply to each port and family
 * separately. Pure.
 */

export interface Place {
  readonly nodeName: string;
  /** The zone of the node. Absent: zone hints are not followed. */
  readonly zone?: string | undefined;
  /** Prefixes. Only `externalIPs` in them are served. Absent: any. */
  readonly externalRanges?: readonly string[];
  /** Addresses of this host at which node ports are served. Absent: all of them. */
  readonly nodePortAddresses?: readonly string[] | undefined;
  /** The addresses of the Node object. */
  readonly nodeAddresses?: readonly string[];
  /**
   * Prefixes of the pods of this node. They reach an external address of a Service with
   * `externalTrafficPolicy: Local` as they reach its cluster address.
   */
  readonly podRanges?: readonly string[];
  /** Addresses at which no Service is served: those of the API server and of the node's name server. */
  readonly reserved?: readonly string[];
}

/** An endpoint of a slice, with the ports of the slice. */
export interface Candidate extends Endpoint {
  /** Port numbers by `slicePort`. */
  readonly ports: Readonly<Record<string, number>>;
}

/**
 * The most pairs of a port and an endpoint that are examined for one Service, which takes about a second.
 * Otherwise any author of Services and EndpointSlices could make each node examine a thousand million pairs.
 */
const mostPairs = 262_144;
/** This many endpoints are examined for any number of ports. */
const leastCandidates = 64;

/**
 * Returns as many endpoints as are examined for a service with this many ports: this node's first, then those
 * that serve, in an order specific to the node.
 */
export function withinReach(
  candidates: readonly Candidate[],
  ports: number,
  { nodeName }: Place,
): readonly Candidate[] {
  const most = Math.max(leastCandidates, Math.floor(mostPairs / Math.max(1, ports)));
  if (candidates.length <= most) return candidates;
  const order = placesInOwnOrder(new Set(candidates.map(({ address }) => address)), nodeName);
  const rank = ({ node, serving, address }: Candidate): readonly [number, number, number] => [
    node === nodeName ? 0 : 1,
    serving ? 0 : 1,
    order.get(address) ?? 0,
  ];
  return candidates
    .map((candidate) => ({ candidate, rank: rank(candidate) }))
    .toSorted((a, b) => a.rank[0] - b.rank[0] || a.rank[1] - b.rank[1] || a.rank[2] - b.rank[2])
    .slice(0, most)
    .map(({ candidate }) => candidate);
}

/** A service's port, and its name in the slices. */
export interface MappedPort {
  readonly inSlices: string;
  readonly port: ServicePort;
}

/** An endpoint that offers the port, at `number`. */
interface Offer {
  readonly candidate: Candidate;
  readonly number: number;
}

/** Whether an endpoint gets new connections. If it gets none, it only keeps those that it has. */
interface Use {
  readonly isNew: boolean;
  /** From pods of this node, and from the node itself. */
  readonly isInside: boolean;
}

/** An address that serves a port. */
interface PortPlace extends Use {
  readonly number: number;
}

export const isIpv6 = ({ address }: Pick<Endpoint, 'address'>): boolean => address.includes(':');

/** Slots of all virtual servers of a service together: each takes a hundred bytes of kernel memory. */
const slotsOfService = 1_048_576;

/**
 * Returns the most endpoints of a port and family that get new connections from one node, with either
 * balancer. Other nodes use the others.
 * @param servers the number of virtual servers of the service
 */
export function mostTakingOf(servers: number, scheduler: Scheduler): number {
  if (servers * mostSlots > slotsOfService) return usualSlots;
  return scheduler === 'maglev' ? mostMaglevSlots : mostSlots;
}

export interface Selection {
  /**
   * Only endpoints of this node count, for a `Local` traffic policy. `outside`: only for connections that
   * come from outside the node.
   */
  readonly local: boolean | 'outside';
  /** See {@link mostTakingOf}. */
  readonly most: number;
  /** Called for each port that has more endpoints than `most`. */
  readonly crowded: (port: ServicePort, most: number) => void;
}

/** The order of addresses is that of all ports, so that they get the same endpoints. */
type OrderedSelection = Selection & { readonly order: () => ReadonlyMap<string, number> };

/**
 * Returns the backends of a service on this node. A service with ports or families that different endpoints
 * serve may have fewer of each than `most`, so that no port is left without the endpoints that it has.
 */
export function backendsOf(
  mapped: readonly MappedPort[],
  candidates: readonly Candidate[],
  place: Place,
  { local, most, crowded }: Selection,
): readonly Backend[] {
  let found: ReadonlyMap<string, number> | undefined;
  const order = (): ReadonlyMap<string, number> =>
    (found ??= placesInOwnOrder(new Set(candidates.map(({ address }) => address)), place.nodeName));
  for (let each = most; ; each = Math.max(usualSlots, Math.floor(each / 2))) {
    const noted: ServicePort[] = [];
    const rows = rowsFor(mapped, candidates, place, {
      local,
      most: each,
      crowded: (port) => noted.push(port),
      order,
    });
    if (each > usualSlots && rows.filter(takes).length > maxBackends) continue;
    for (const port of noted) crowded(port, each);
    return rows.length <= maxBackends ? rows : first(rows, place);
  }
}

/** Returns one row or more for each address that serves a port. */
function rowsFor(
  mapped: readonly MappedPort[],
  candidates: readonly Candidate[],
  place: Place,
  selection: OrderedSelection,
): readonly Backend[] {
  if (selection.local === false && areUsual(candidates) && haveUsualPorts(candidates, mapped)) {
    const rows = candidates.map(({ address }) => ({ address }));
    const isSorted = rows.every(({ address }, at) => at === 0 || (rows[at - 1]?.address ?? '') < address);
    return isSorted ? rows : rows.sort((a, b) => (a.address < b.address ? -1 : 1));
  }
  /** By address, then by port. */
  const found = new Map<string, Map<string, PortPlace[]>>();
  for (const { inSlices, port } of mapped) {
    const offers = candidates.flatMap((candidate): Offer[] => {
      const number = candidate.ports[inSlices];
      return number === undefined ? [] : [{ candidate, number }];
    });
    const six = offers.filter(({ candidate }) => isIpv6(candidate));
    const four = six.length === 0 ? offers : offers.filter(({ candidate }) => !isIpv6(candidate));
    for (const own of [four, six])
      for (const [{ candidate, number }, use] of usedBy(own, port, place, selection)) {
        const ports = found.get(candidate.address) ?? new Map<string, PortPlace[]>();
        found.set(candidate.address, ports);
        const places = ports.get(port.name) ?? [];
        places.push({ number, ...use });
        ports.set(port.name, places);
      }
  }
  // In a fixed order, so that an endpoint that only moved is not a change.
  for (const ports of found.values())
    for (const places of ports.values()) places.sort((a, b) => a.number - b.number);
  return [...found]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([address, ports]) => rowsOf(address, ports, mapped));
}

/**
 * Returns as many backends as a service may have. Backends that get connections come before those that only
 * keep them.
 */
function first(rows: readonly Backend[], place: Place): readonly Backend[] {
  const ofAddress = Map.groupBy(rows, ({ address }) => address);
  const ordered = inOwnOrder(ofAddress.keys(), place.nodeName).flatMap(
    (address) => ofAddress.get(address) ?? [],
  );
  const kept = new Set(
    [...ordered.filter(takes), ...ordered.filter((row) => !takes(row))].slice(0, maxBackends),
  );
  return rows.filter((row) => kept.has(row));
}

const takes = ({ weight }: Backend): boolean => weight !== 0;

/**
 * Returns the offers that serve a port, and the use of each. Connections from inside the node get any
 * endpoint, whichever policy applies to the others (kube-proxy 1.36, pkg/proxy/nftables/proxier.go,
 * `short-circuit`).
 */
function* usedBy(
  offers: readonly Offer[],
  port: ServicePort,
  place: Place,
  { local, most, crowded, order }: OrderedSelection,
): Iterable<readonly [Offer, Use]> {
  const others = served(offers, port, place, { local: local !== false, most, crowded, order });
  if (local !== 'outside') {
    for (const [offer, isNew] of others) yield [offer, { isNew, isInside: isNew }];
    return;
  }
  const ofInside = [...served(offers, port, place, { local: false, most, crowded, order })];
  const isInside = new Set(ofInside.flatMap(([offer, isNew]) => (isNew ? [idOf(offer)] : [])));
  const ofOthers = new Set<string>();
  for (const [offer, isNew] of others) {
    ofOthers.add(idOf(offer));
    yield [offer, { isNew, isInside: isInside.has(idOf(offer)) }];
  }
  for (const [offer] of ofInside)
    if (!ofOthers.has(idOf(offer))) yield [offer, { isNew: false, isInside: isInside.has(idOf(offer)) }];
}

/**
 * Returns the offers that serve a port, and whether each gets new connections. Each address and number
 * appears once: an endpoint that moves is in two slices for a while.
 */
function served(
  offers: readonly Offer[],
  port: ServicePort,
  place: Place,
  { local, most, crowded, order }: OrderedSelection,
): Iterable<readonly [Offer, boolean]> {
  if (local === false && areUsual(offers.map(({ candidate }) => candidate)))
    return offers.map((offer) => [offer, true]);
  const own = offers.filter(({ candidate }) => local === false || candidate.node === place.nodeName);
  const ready = own.filter(({ candidate }) => candidate.ready);
  const isNear = local === false ? nearnessOf(ready, place) : () => true;
  const all = new Set(
    ready.length > 0 ? ready.filter(({ candidate }) => isNear(candidate)) : own.filter(isEndingWell),
  );
  const usable = all.size <= most ? all : ownPart([...all], order, most, () => crowded(port, most));
  // A UDP flow stays with its endpoint while that serves: hints and policies are for new flows. UDP has no
  // end of a connection, so a client whose endpoint does not serve must get another one, if there is any.
  const movesOn = port.protocol === 'udp' && offers.some(({ candidate }) => candidate.serving);
  const found = new Map<string, readonly [Offer, boolean]>();
  for (const offer of movesOn ? offers : own) {
    const { candidate } = offer;
    const isNew = usable.has(offer);
    const keepsItsOwn =
      all.has(offer) ||
      isEndingWell(offer) ||
      (movesOn ? candidate.serving : !candidate.ready && !candidate.terminating);
    const id = idOf(offer);
    if (isNew || (keepsItsOwn && !found.has(id))) found.set(id, [offer, isNew]);
  }
  return found.values();
}

/** A comparison of each with each is cheap for this many. */
const few = 8;

/** Few, and each is ready, meant for all clients, and differs from the others by its address. */
const areUsual = (candidates: readonly Candidate[]): boolean =>
  candidates.length <= few &&
  candidates.every(
    ({ address, ready, forNodes, forZones }, at) =>
      ready &&
      forNodes === undefined &&
      forZones === undefined &&
      candidates.findIndex((other) => other.address === address) === at,
  );

/** Whether the ports are few and differ, and each endpoint serves each of them, at its usual number. */
const haveUsualPorts = (candidates: readonly Candidate[], mapped: readonly MappedPort[]): boolean =>
  mapped.length > 0 &&
  mapped.length <= few &&
  mapped.every(
    ({ inSlices, port: { name, targetPort } }, at) =>
      candidates.every(({ ports }) => ports[inSlices] === targetPort) &&
      mapped.findIndex(({ port }) => port.name === name) === at,
  );

const idOf = ({ candidate: { address }, number }: Offer): string => `${address} ${number}`;

/**
 * Returns the offers that get connections from this node if there are too many. An endpoint that is in two
 * slices while it moves counts once.
 */
function ownPart(
  all: readonly Offer[],
  order: () => ReadonlyMap<string, number>,
  most: number,
  crowded: () => void,
): ReadonlySet<Offer> {
  const ids = new Map(all.map((offer) => [idOf(offer), offer]));
  if (ids.size <= most) return new Set(all);
  crowded();
  const places = order();
  const rank = ({ candidate }: Offer): number => places.get(candidate.address) ?? 0;
  const ordered = [...ids].toSorted(([, a], [, b]) => rank(a) - rank(b) || a.number - b.number);
  const part = new Set(ordered.slice(0, most).map(([id]) => id));
  return new Set(all.filter((offer) => part.has(idOf(offer))));
}

export const isEndingWell = ({
  candidate: { ready, serving, terminating },
}: Pick<Offer, 'candidate'>): boolean => !ready && serving && terminating;

/**
 * Returns the filter for endpoints that the cluster intends for clients of this node, or of its zone. The
 * hints apply if every ready endpoint has such a hint and one of them names us. Otherwise all endpoints pass.
 */
function nearnessOf(ready: readonly Offer[], { nodeName, zone }: Place): (candidate: Candidate) => boolean {
  const followed = (hintsOf: (candidate: Candidate) => readonly string[], own: string): boolean =>
    ready.every(({ candidate }) => hintsOf(candidate).length > 0) &&
    ready.some(({ candidate }) => hintsOf(candidate).includes(own));
  const nodes = ({ forNodes = [] }: Candidate): readonly string[] => forNodes;
  const zones = ({ forZones = [] }: Candidate): readonly string[] => forZones;
  if (followed(nodes, nodeName)) return (candidate) => nodes(candidate).includes(nodeName);
  if (zone !== undefined && followed(zones, zone)) return (candidate) => zones(candidate).includes(zone);
  return () => true;
}

/**
 * Whether every port is served at its usual number and gets new connections, as for nearly every endpoint.
 */
const isPlain = (ports: ReadonlyMap<string, readonly PortPlace[]>, mapped: readonly MappedPort[]): boolean =>
  mapped.every(({ port: { name, targetPort } }) => {
    const [place, another] = ports.get(name) ?? [];
    return place?.isNew === true && place.isInside && place.number === targetPort && another === undefined;
  });

/**
 * Returns an address and what it serves as backends: one backend, or several if it serves one port at several
 * numbers.
 */
function rowsOf(
  address: string,
  ports: ReadonlyMap<string, readonly PortPlace[]>,
  mapped: readonly MappedPort[],
): readonly Backend[] {
  if (isPlain(ports, mapped)) return [{ address }];
  const rows = largest([...ports.values()].map(({ length }) => length));
  return Array.from({ length: rows }, (_, row): Backend => {
    const at = mapped.flatMap(({ port }) => {
      const placed = ports.get(port.name)?.[row];
      return placed === undefined ? [] : [{ port, ...placed }];
    });
    const differing = at
      .filter(({ port, number }) => number !== port.targetPort)
      .map(({ port, number }) => [port.name, number] as const);
    const has = new Set(at.map(({ port }) => port.name));
    const without = mapped.filter(({ port }) => !has.has(port.name)).map(({ port }) => port.name);
    const quiescent = at.filter(({ isNew }) => !isNew).map(({ port }) => port.name);
    const inside = at.filter(({ isInside }) => isInside).map(({ port }) => port.name);
    const differ = at.some(({ isNew, isInside }) => isNew !== isInside);
    return {
      address,
      ...(differing.length > 0 && { ports: Object.fromEntries(differing) }),
      ...(without.length > 0 && { without }),
      ...(quiescent.length === at.length && !differ
        ? { weight: 0 }
        : quiescent.length > 0 && { quiescentPorts: quiescent }),
      ...(differ && { insidePorts: inside }),
    };
  });
}

/**
 * Returns how many endpoints of this node would get a new connection, by family, for health checks of load
 * balancers. Those of a slice without a port get none: their pods lack the named target ports.
 */
export function localReady(
  { clusterIPs }: Pick<KubernetesService, 'clusterIPs'>,
  slices: Iterable<Pick<EndpointSlice, 'endpoints' | 'ports'>>,
  nodeName: string,
): ReadonlyMap<Family, number> {
  const local = [...slices].flatMap(({ endpoints, ports }) =>
    Object.keys(ports).length === 0 ? [] : endpoints.filter(({ ready, node }) => ready && node === nodeName),
  );
  const count = (isSix: boolean): number =>
    new Set(local.filter((each) => isIpv6(each) === isSix).map(({ address }) => address)).size;
  return new Map(
    clusterIPs.map((address): [Family, number] =>
      isIpv6({ address }) ? [6, count(true)] : [4, count(false)],
    ),
  );
}
