import type { Backend, ServicePort } from '../model.ts';
import type { Endpoint } from './objects.ts';

/**
 * Which endpoints a port of a Service has on one node: kube-proxy's rules (k8s.io/kubernetes/pkg/proxy/topology.go, `CategorizeEndpoints`), which
 * are about each port and family by itself. Pure.
 */

export interface Place {
  readonly nodeName: string;
  /** Of the node; absent: hints for zones are not followed. */
  readonly zone?: string;
}

/** A slice's endpoint with the slice's ports. */
export interface Candidate extends Endpoint {
  /** Numbers by `slicePort`. */
  readonly ports: Readonly<Record<string, number>>;
}

/** A service's port, and its name in the slices. */
export interface MappedPort {
  readonly inSlices: string;
  readonly port: ServicePort;
}

/** One that is offered the port: at `number`. */
interface Offer {
  readonly candidate: Candidate;
  readonly number: number;
}

/** An address that serves a port. `isNew`: it gets new connections; else it keeps those that it has. */
interface PortPlace {
  readonly number: number;
  readonly isNew: boolean;
}

const isIpv6 = ({ address }: Pick<Endpoint, 'address'>): boolean => address.includes(':');

/** @param local only endpoints of this node count: of a `Local` traffic policy */
export function backendsOf(
  mapped: readonly MappedPort[],
  candidates: readonly Candidate[],
  place: Place,
  local: boolean,
): readonly Backend[] {
  /** By address, then by port. */
  const found = new Map<string, Map<string, PortPlace[]>>();
  for (const { inSlices, port } of mapped) {
    const offers = candidates.flatMap((candidate): Offer[] => {
      const number = candidate.ports[inSlices];
      return number === undefined ? [] : [{ candidate, number }];
    });
    for (const own of [offers.filter(({ candidate }) => !isIpv6(candidate)), offers.filter(({ candidate }) => isIpv6(candidate))])
      for (const [{ candidate, number }, isNew] of served(own, port, place, local)) {
        const ports = found.get(candidate.address) ?? new Map<string, PortPlace[]>();
        found.set(candidate.address, ports);
        ports.set(
          port.name,
          [...(ports.get(port.name) ?? []), { number, isNew }].toSorted((a, b) => a.number - b.number),
        );
      }
  }
  // In an order of their own, so that what only moved is no change.
  return [...found].toSorted(([a], [b]) => (a < b ? -1 : 1)).flatMap(([address, ports]) => rowsOf(address, ports, mapped));
}

/** Those that serve a port, and whether each gets new connections; each address and number once: while an endpoint moves it is in two slices. */
function served(offers: readonly Offer[], { protocol }: ServicePort, place: Place, local: boolean): Iterable<readonly [Offer, boolean]> {
  const own = offers.filter(({ candidate }) => !local || candidate.node === place.nodeName);
  const ready = own.filter(({ candidate }) => candidate.ready);
  const isNear = local ? () => true : nearnessOf(ready, place);
  const usable = new Set(ready.length > 0 ? ready.filter(({ candidate }) => isNear(candidate)) : own.filter(isEndingWell));
  // Over UDP nothing tells a connection's end: the client of one that does not serve must come to another, where there is any.
  const movesOn = protocol === 'udp' && offers.some(({ candidate }) => candidate.serving);
  const found = new Map<string, readonly [Offer, boolean]>();
  for (const offer of own) {
    const { candidate, number } = offer;
    const isNew = usable.has(offer);
    const keepsItsOwn = isEndingWell(offer) || (!candidate.ready && !candidate.terminating && (candidate.serving || !movesOn));
    const id = `${candidate.address} ${number}`;
    if (isNew || (keepsItsOwn && !found.has(id))) found.set(id, [offer, isNew]);
  }
  return found.values();
}

const isEndingWell = ({ candidate: { ready, serving, terminating } }: Offer): boolean => !ready && serving && terminating;

/**
 * Whom the cluster means for clients of this node, or of its zone: where every ready endpoint has such a hint and one of them is for us, else
 * all.
 */
function nearnessOf(ready: readonly Offer[], { nodeName, zone }: Place): (candidate: Candidate) => boolean {
  const followed = (hintsOf: (candidate: Candidate) => readonly string[], own: string): boolean =>
    ready.every(({ candidate }) => hintsOf(candidate).length > 0) && ready.some(({ candidate }) => hintsOf(candidate).includes(own));
  const nodes = ({ forNodes = [] }: Candidate): readonly string[] => forNodes;
  const zones = ({ forZones = [] }: Candidate): readonly string[] => forZones;
  if (followed(nodes, nodeName)) return (candidate) => nodes(candidate).includes(nodeName);
  if (zone !== undefined && followed(zones, zone)) return (candidate) => zones(candidate).includes(zone);
  return () => true;
}

/** An address with what it serves, as backends: one, but where it serves one port at several numbers. */
function rowsOf(address: string, ports: ReadonlyMap<string, readonly PortPlace[]>, mapped: readonly MappedPort[]): readonly Backend[] {
  const rows = Math.max(...[...ports.values()].map(({ length }) => length));
  return Array.from({ length: rows }, (_, row): Backend => {
    const at = mapped.flatMap(({ port }) => {
      const placed = ports.get(port.name)?.[row];
      return placed === undefined ? [] : [{ port, ...placed }];
    });
    const differing = at.filter(({ port, number }) => number !== port.targetPort).map(({ port, number }) => [port.name, number] as const);
    const without = mapped.filter(({ port }) => !at.some((each) => each.port.name === port.name)).map(({ port }) => port.name);
    const quiescent = at.filter(({ isNew }) => !isNew).map(({ port }) => port.name);
    return {
      address,
      ...(differing.length > 0 && { ports: Object.fromEntries(differing) }),
      ...(without.length > 0 && { without }),
      ...(quiescent.length === at.length ? { weight: 0 } : quiescent.length > 0 && { quiescentPorts: quiescent }),
    };
  });
}

/** How many endpoints of this node would get a new connection, of the family that has more: what a health check of a load balancer asks. */
export function localReady(slices: Iterable<{ readonly endpoints: readonly Endpoint[] }>, nodeName: string): number {
  const local = [...slices].flatMap(({ endpoints }) => endpoints.filter(({ ready, node }) => ready && node === nodeName));
  const count = (endpoints: readonly Endpoint[]): number => new Set(endpoints.map(({ address }) => address)).size;
  return Math.max(count(local.filter(isIpv6)), count(local.filter((each) => !isIpv6(each))));
}
