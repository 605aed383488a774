import { NETLINK_GENERIC, NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { openNetlink } from '../../../base/netlink/index.ts';
import type { NetlinkSocket, IpvsService } from '../../../base/netlink/index.ts';
import { givingMemoryBack } from '../model/memory.ts';
import { keyOf } from '../model/model.ts';
import type { Balancer, ServerKey } from '../model/model.ts';
import { insideKeyOf, isInsideKey, planeKeyOf } from '../model/planes.ts';
import type { PlaneKey } from '../model/planes.ts';
import { openOwnAddresses } from '../source-ranges/own-address.ts';
import type { OwnAddresses } from '../source-ranges/own-address.ts';
import { addWithoutEarlierFlows } from './earlier-flows.ts';
import { createInsideMarks } from './inside-marks.ts';
import { openKernelTables } from './kernel-tables.ts';
import { openIpvsKernel, ourServices } from './kernel.ts';
import type { IpvsKernel } from './kernel.ts';
import { createKnownServers } from './known-servers.ts';
import type { KnownServers } from './known-servers.ts';
import { openServiceLink } from './link.ts';
import type { ServiceLink } from './link.ts';
import { destinationsOf, readKey, refuse, serviceId, serviceKey, serviceOf } from './plan.ts';
import type { IpvsPlane } from './plan.ts';
import { createServedConnections } from './served-connections.ts';
import type { ServedConnections } from './served-connections.ts';
import { openIpvs, settle } from './settings.ts';

/** A balancer that another one can replace: it reports the connections that it still carries. */
export interface IpvsBalancer extends Balancer, Pick<ServedConnections, 'standing'> {
  readonly kind: 'ipvs';
  /**
   * Prepares for another balancer to take new connections. Established connections go on until `removeAll`.
   */
  retire(): void;
  /**
   * Stops taking new connections. A connection that arrives here nevertheless, for example to a service that
   * was removed, is refused. `reconcile` undoes it.
   */
  refuseNew(): void;
}

/**
 * Opens the IPVS balancer in the network namespace of the calling thread. State from an earlier run stays in
 * force until `reconcile`.
 * @throws NETWORK_IPVS_MISSING · NETWORK_IPVS_SETTING · NETWORK_KERNEL_*
 */
export function openIpvsBalancer(): IpvsBalancer {
  const generic = openNetlink(NETLINK_GENERIC);
  const netfilter = openNetlink(NETLINK_NETFILTER);
  const link = openServiceLink();
  const own = openOwnAddresses();
  const close = (): void => {
    for (const each of [generic, netfilter, link, own]) each.close();
  };
  try {
    const requests = openIpvs(generic);
    settle(generic, requests);
    return ipvsBalancerOver({ own, kernel: openIpvsKernel(generic, requests), link, netfilter, close });
  } catch (thrown) {
    close();
    throw thrown;
  }
}

export interface IpvsBalancerDeps {
  readonly own: OwnAddresses;
  readonly kernel: IpvsKernel;
  readonly link: ServiceLink;
  readonly netfilter: NetlinkSocket;
  readonly close: () => void;
}

/**
 * Number of drift checks between two that list all services. The cost of a listing grows with the number of
 * services.
 */
const looksBetweenListings = 30;

/** Returns the balancer over opened parts of the kernel. */
export function ipvsBalancerOver(deps: IpvsBalancerDeps): IpvsBalancer {
  const { own, kernel, link, netfilter, close } = deps;
  const known = createKnownServers();
  const marks = createInsideMarks();
  const tables = openKernelTables({ own, link, netfilter });
  const connections = createServedConnections({ kernel, link, netfilter, known });
  let looks = 0;
  /** `retire` changed them, in this process or in an earlier one. */
  let sourcesMayDiffer = true;
  /**
   * Whether IPVS may have a service whose earlier flows are not forgotten: a change was interrupted, in this
   * process or in an earlier one.
   */
  let earlierFlowsMayExist = true;

  const ours = (): IpvsService[] => ourServices(kernel, link);

  return {
    kind: 'ipvs',
    refuse,

    reconcile(servers) {
      // Without its address or its mark, a service that IPVS still has gets no packets.
      const mayExist = earlierFlowsMayExist || !link.stands() || !tables.stand();
      earlierFlowsMayExist = true;
      link.make();
      const existing = ours();
      marks.adopt(tables.insideMarks());
      known.clear();
      tables.reset();
      for (const server of givingMemoryBack(servers))
        for (const plane of marks.planesOf([server])) {
          known.set(plane);
          tables.step([], [plane]);
        }
      marks.settle();
      // The virtual addresses come first: they mark a service as ours, also for the next process if this one
      // is killed here.
      const { wanted, missing, stale } = compareAddresses(link.addresses(), tables.addresses());
      tables.rebuild(known.insides.values());
      link.add(missing);
      addWithoutEarlierFlows(deps, known.servers(), notAmong(existing), mayExist);
      earlierFlowsMayExist = false;
      const differed = bringServices(known.servers(), existing, kernel);
      link.remove(stale);
      // A route ends with the address that is its source. Only an address's own route lives as long as the
      // address.
      if (sourcesMayDiffer)
        link.sourcesFor(wanted.filter(({ length }) => length === 4).map((address) => [address, address]));
      sourcesMayDiffer = false;
      return differed;
    },

    change(put, remove) {
      const planes = marks.planesOf(put);
      const gone = known.of([...remove, ...insidesWithout(known, planes, [...remove, ...put.map(keyOf)])]);
      const step = tables.step([...gone, ...known.of(planes.map(planeKeyOf))], planes);
      // The sources that may connect are set before there is anything to connect to.
      tables.add(step);
      link.add(step.newAddresses);
      const mayExist = earlierFlowsMayExist;
      earlierFlowsMayExist = true;
      addWithoutEarlierFlows(deps, planes, (plane) => known.get(planeKeyOf(plane)) === undefined, mayExist);
      earlierFlowsMayExist = mayExist;
      for (const plane of planes) {
        kernel.put(serviceOf(plane), destinationsOf(plane));
        known.set(plane);
      }
      for (const plane of gone) {
        kernel.deleteService(serviceKey(plane));
        known.delete(planeKeyOf(plane));
        marks.release(plane);
      }
      tables.setInsides(known.insides.values());
      link.remove(step.oldAddresses);
      tables.take(step);
    },

    cut: (key, destination) => connections.cut(key, destination),
    counts: (of) => connections.counts(of),
    standing: () => connections.standing(),

    changedByOthers() {
      if (known.size === 0) return false;
      if (!link.stands() || !tables.stand()) return true;
      looks += 1;
      if (looks % looksBetweenListings !== 0) return false;
      return differ(ours(), known);
    },

    tick() {
      if (known.size === 0 || !tables.stand()) return;
      if (known.restricted.size > 0) tables.relocate(() => known.of(known.restricted));
      tables.followLinks();
    },

    retire() {
      sourcesMayDiffer = true;
      link.sourcesFor(sourcesFacing(ours(), kernel, link));
    },

    refuseNew() {
      // From now on, the other balancer decides which clients may connect.
      if (tables.stand()) tables.letEverybodyIn();
      for (const { key } of ours()) kernel.refuseNew(key);
    },

    removeAll() {
      for (const { key } of ours()) kernel.deleteService(key);
      known.clear();
      tables.reset();
      tables.remove();
      // The link is deleted last: it shows that something of ours exists, also to the next process if this
      // one is killed here.
      link.delete();
    },

    close,
  };
}

/** The key of a server is enough for its IPVS service. The key of an inside plane does not have the mark. */
const planeAt = (known: KnownServers, key: PlaneKey): Parameters<typeof serviceKey>[0] =>
  (isInsideKey(key) ? known.get(key) : undefined) ?? readKey(key);

function notAmong(services: readonly IpvsService[]): (plane: IpvsPlane) => boolean {
  const existing = new Set(services.map(({ key }) => serviceId(key)));
  return (plane) => !existing.has(serviceId(serviceKey(plane)));
}

/** Whether IPVS has other services than the known ones. */
function differ(services: readonly IpvsService[], known: KnownServers): boolean {
  const existing = new Set(services.map(({ key }) => serviceId(key)));
  return (
    existing.size !== known.size ||
    [...known.keys()].some((key) => !existing.has(serviceId(serviceKey(planeAt(known, key)))))
  );
}

/** Returns each wanted address once, those that are not held, and those that are held and not wanted. */
function compareAddresses(
  held: readonly Buffer[],
  wanted: readonly Buffer[],
): { readonly wanted: Buffer[]; readonly missing: Buffer[]; readonly stale: Buffer[] } {
  const byHex = (addresses: readonly Buffer[]): Map<string, Buffer> =>
    new Map(addresses.map((address) => [address.toString('hex'), address]));
  const [there, named] = [byHex(held), byHex(wanted)];
  const without = (some: Map<string, Buffer>, others: Map<string, Buffer>): Buffer[] =>
    [...some].filter(([hex]) => !others.has(hex)).map(([, address]) => address);
  return { wanted: [...named.values()], missing: without(named, there), stale: without(there, named) };
}

/** Returns the keys of inside planes of these servers that are not among `planes`. */
function insidesWithout(
  { insides }: KnownServers,
  planes: readonly IpvsPlane[],
  servers: readonly ServerKey[],
): PlaneKey[] {
  if (insides.size === 0) return [];
  const stay = new Set(planes.map(planeKeyOf));
  return servers.map(insideKeyOf).filter((key) => !stay.has(key));
}

/**
 * Brings IPVS to exactly these servers, one service at a time. Returns how many services differed.
 * @param standing our services as IPVS has them
 */
function bringServices(
  servers: Iterable<IpvsPlane>,
  existing: readonly IpvsService[],
  kernel: IpvsKernel,
): number {
  const left = new Map(existing.map((service) => [serviceId(service.key), service]));
  let changed = 0;
  for (const server of givingMemoryBack(servers)) {
    const service = serviceOf(server);
    const id = serviceId(service.key);
    // A service that another program created at the same address and port is taken over.
    if (kernel.put(service, destinationsOf(server), left.get(id))) changed += 1;
    left.delete(id);
  }
  for (const { key } of left.values()) kernel.deleteService(key);
  return changed + left.size;
}

/** Returns for each IPv4 address of these services the host's address that faces a backend. */
function sourcesFacing(
  services: readonly IpvsService[],
  kernel: Pick<IpvsKernel, 'destinations'>,
  link: Pick<ServiceLink, 'facing'>,
): (readonly [address: Uint8Array, source: Uint8Array])[] {
  return services.flatMap(({ key }) => {
    if ('mark' in key || key.family === 10) return [];
    const [destination] = kernel.destinations(key);
    const source = destination === undefined ? undefined : link.facing(destination.address);
    return source === undefined ? [] : [[key.address, source] as const];
  });
}
