import { NETLINK_GENERIC, NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { forget, listConnections } from '../../netlink/connections.ts';
import type { TrackedConnection } from '../../netlink/connections.ts';
import { isRefusal } from '../../netlink/kernel-failure.ts';
import { readListedElements } from '../../netlink/nft-readout.ts';
import { getTable, listElements } from '../../netlink/nftables.ts';
import { transact } from '../../netlink/nft-transactions.ts';
import { openNetlink } from '../../netlink/socket.ts';
import type { NetlinkSocket, Request } from '../../netlink/socket.ts';
import { givingMemoryBack } from '../memory.ts';
import { keyOf } from '../model.ts';
import type { Balancer, ServerCounts, ServerKey, VirtualServer } from '../model.ts';
import { packServer, unpackServer } from '../packed-server.ts';
import type { PackedServer } from '../packed-server.ts';
import { readDenied } from '../source-ranges/denied.ts';
import { openOwnAddresses } from '../source-ranges/own-address.ts';
import type { OwnAddresses } from '../source-ranges/own-address.ts';
import { restrictedMap } from '../source-ranges/rules.ts';
import { readBackends } from '../unknown-segments/backends.ts';
import { openIpvsKernel } from './kernel.ts';
import type { IpvsKernel } from './kernel.ts';
import type { IpvsService } from '../../netlink/ipvs.ts';
import { openLedger } from './ledger.ts';
import type { HostAddresses } from './ledger.ts';
import { openServiceLink } from './link.ts';
import type { ServiceLink } from './link.ts';
import {
  addressBytes,
  destinationId,
  destinationsOf,
  familyNumber,
  isNodePortMark,
  protocolNumber,
  readKey,
  refuse,
  serviceId,
  serviceKey,
  serviceOf,
} from './plan.ts';
import { openIpvs, settle } from './settings.ts';
import { addTo, hostElements, linkElements, rebuild, removeTable, serverKeyBytes, tableFamilies, tableOf, takeFrom } from './tables.ts';
import type { Elements, TableFamily } from './tables.ts';

/** A balancer that another one can replace: it reports the connections that it still carries. */
export interface IpvsBalancer extends Balancer {
  readonly kind: 'ipvs';
  /**
   * Returns how many connections are established or just ending: those of all our objects in the kernel, and
   * those of the host itself that use one of our addresses.
   */
  standing(): number;
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
    return balancerOver({ own, kernel: openIpvsKernel(generic, requests), link, netfilter, close });
  } catch (thrown) {
    close();
    throw thrown;
  }
}

const hexOf = (bytes: Uint8Array | undefined): string => (bytes === undefined ? '' : Buffer.from(bytes).toString('hex'));

interface Parts {
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

function balancerOver({ own, kernel, link, netfilter, close }: Parts): IpvsBalancer {
  /** Kept as text: there are thousands of servers, and a change affects few of them. */
  const known = new Map<ServerKey, PackedServer>();
  const restricted = new Set<ServerKey>();
  let ledger = openLedger(ownNow());
  let links: readonly number[] = [];
  /**
   * Virtual addresses that the host also has on other links, as hexadecimal digits. Each `reconcile` looks
   * for them again.
   */
  let ofHost = new Set<string>();
  let looks = 0;

  function ownNow(): HostAddresses {
    return { 4: own.of(4), 6: own.of(6) };
  }

  const serverAt = (key: ServerKey): VirtualServer[] => {
    const packed = known.get(key);
    return packed === undefined ? [] : [unpackServer(packed)];
  };
  const know = (server: VirtualServer): void => {
    const key = keyOf(server);
    known.set(key, packServer(server));
    if (server.sourceRanges === undefined) restricted.delete(key);
    else restricted.add(key);
  };
  const forgetServer = (key: ServerKey): void => {
    known.delete(key);
    restricted.delete(key);
  };
  const take = (elements: ReadonlyMap<TableFamily, Elements>): Request[] =>
    [...elements].flatMap(([family, each]) => takeFrom(family, each));
  const add = (elements: ReadonlyMap<TableFamily, Elements>): Request[] => [...elements].flatMap(([family, each]) => addTo(family, each));
  /** `retire` changed them, in this process or in an earlier one. */
  let sourcesMayDiffer = true;

  const rebuildTables = (): void => {
    links = link.onLink();
    const elsewhere = link.elsewhere();
    ofHost = new Set(ledger.addresses().flatMap((address) => (elsewhere.has(hexOf(address)) ? [hexOf(address)] : [])));
    const requests = tableFamilies.flatMap((family) =>
      rebuild(
        family,
        new Map([...ledger.elements(family), ['links', linkElements(links)], ...hostElementsOf(family, [...ofHost])]),
        before(() => readDenied(netfilter, tableOf(family))),
        before(() => readBackends(netfilter, tableOf(family))),
      ),
    );
    transact(netfilter, requests);
  };
  const hostElementsOf = (family: TableFamily, addresses: readonly string[]): Elements => {
    const bytes = addresses.map((hex) => Buffer.from(hex, 'hex')).filter(({ length }) => (length === 4) === (family === 'ip'));
    return new Map(bytes.length === 0 ? [] : [['of_host', hostElements(bytes)]]);
  };

  /** Reads from the tables of this process or of an earlier one. */
  const before = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (thrown) {
      // There is no table, or the table is from a version that did not have the set.
      if (isRefusal(thrown, 'ENOENT')) return undefined;
      throw thrown;
    }
  };

  const ours = (): IpvsService[] => {
    const held = new Set(link.addresses().map((address) => address.toString('hex')));
    return kernel
      .services()
      .filter(({ key }) => ('mark' in key ? isNodePortMark(key.mark) : held.has(Buffer.from(key.address).toString('hex'))));
  };

  /** Returns the connections to the server that one destination answers, whichever balancer began them. */
  const trackedTo = (server: Pick<VirtualServer, 'family' | 'protocol' | 'address' | 'port'>, id: string): TrackedConnection[] =>
    listConnections(netfilter, familyNumber(server), {
      protocol: protocolNumber(server.protocol),
      portTo: server.port,
      ...(server.address === undefined ? {} : { to: addressBytes(server.address) }),
    }).filter(({ answeredBy, answeringPort }) => destinationId({ address: answeredBy, port: answeringPort }) === id);

  const letEverybodyIn = (family: TableFamily): Request[] => {
    try {
      const standing = netfilter.dump(listElements(tableOf(family), restrictedMap)).flatMap(readListedElements);
      return takeFrom(family, new Map([[restrictedMap, standing]]));
    } catch (thrown) {
      // The table is from a version that did not have source ranges.
      if (isRefusal(thrown, 'ENOENT')) return [];
      throw thrown;
    }
  };

  /** Recomputes whether the host itself may connect, because its addresses changed. */
  const relocate = (): void => {
    if (restricted.size === 0) return;
    const [now, before] = [ownNow(), ledger.own()];
    if (([4, 6] as const).every((family) => hexOf(now[family]) === hexOf(before[family]))) return;
    const servers = [...restricted].flatMap(serverAt);
    const step = ledger.change(servers, servers, now);
    transact(netfilter, [...take(step.replaced), ...add(step.add), ...take(step.take)]);
  };

  /** Returns a lookup of the packets that each restricted server dropped. */
  const deniedNow = (of?: ReadonlySet<ServerKey>): ((key: ServerKey, server: VirtualServer) => bigint | undefined) => {
    const asked = restricted.size > 0 && (of === undefined || [...of].some((key) => restricted.has(key)));
    const counted = new Map(asked ? tableFamilies.map((family) => [family, readDenied(netfilter, tableOf(family))] as const) : []);
    return (key, server) => {
      const { address } = server;
      if (address === undefined || !restricted.has(key)) return undefined;
      return counted.get(server.family === 4 ? 'ip' : 'ip6')?.get(serverKeyBytes({ ...server, address }).toString('hex')) ?? 0n;
    };
  };

  const tablesStand = (): boolean => tableFamilies.every((family) => netfilter.find(getTable(tableOf(family)), 'ENOENT') !== undefined);

  return {
    kind: 'ipvs',
    refuse,

    reconcile(servers) {
      link.make();
      const standing = new Map(ours().map((service) => [serviceId(service.key), service]));
      known.clear();
      restricted.clear();
      ledger = openLedger(ownNow());
      for (const server of givingMemoryBack(servers)) {
        know(server);
        ledger.change([], [server]);
      }
      // The virtual addresses come first: they mark a service as ours, also for the next process if this one
      // is killed here.
      const held = new Set(link.addresses().map((address) => address.toString('hex')));
      const wanted = new Map(ledger.addresses().map((address) => [address.toString('hex'), address]));
      rebuildTables();
      link.add([...wanted].filter(([hex]) => !held.has(hex)).map(([, address]) => address));
      let changed = 0;
      for (const packed of givingMemoryBack(known.values())) {
        const server = unpackServer(packed);
        const service = serviceOf(server);
        const id = serviceId(service.key);
        // A service that another program created at the same address and port is taken over.
        if (kernel.put(service, destinationsOf(server), standing.get(id))) changed += 1;
        standing.delete(id);
      }
      for (const { key } of standing.values()) kernel.deleteService(key);
      const stale = [...held].filter((hex) => !wanted.has(hex));
      link.remove(stale.map((hex) => Buffer.from(hex, 'hex')));
      // A route ends with the address that is its source. Only an address's own route lives as long as the
      // address.
      if (sourcesMayDiffer) link.sourcesFor([...wanted.values()].filter(({ length }) => length === 4).map((address) => [address, address]));
      sourcesMayDiffer = false;
      return changed + standing.size;
    },

    change(put, remove) {
      const gone = remove.flatMap(serverAt);
      const replaced = put.flatMap((server) => serverAt(keyOf(server)));
      const step = ledger.change([...gone, ...replaced], put);
      const alsoHosts = step.newAddresses.filter((address) => link.isOfHost(address)).map(hexOf);
      const noMoreOurs = step.oldAddresses.map(hexOf).filter((hex) => ofHost.has(hex));
      // The sources that may connect are set before there is anything to connect to.
      transact(netfilter, [
        ...take(step.replaced),
        ...tableFamilies.flatMap((family) => addTo(family, hostElementsOf(family, alsoHosts))),
        ...add(step.add),
      ]);
      for (const hex of alsoHosts) ofHost.add(hex);
      link.add(step.newAddresses);
      for (const server of put) {
        kernel.put(serviceOf(server), destinationsOf(server));
        know(server);
      }
      for (const server of gone) {
        kernel.deleteService(serviceKey(server));
        forgetServer(keyOf(server));
      }
      link.remove(step.oldAddresses);
      transact(netfilter, [...take(step.take), ...tableFamilies.flatMap((family) => takeFrom(family, hostElementsOf(family, noMoreOurs)))]);
      for (const hex of noMoreOurs) ofHost.delete(hex);
    },

    cut(key, destination) {
      const server = readKey(key);
      const wanted = { address: addressBytes(destination.address), port: destination.port };
      const id = destinationId(wanted);
      const carried = kernel.destinations(serviceKey(server)).find((each) => destinationId(each) === id);
      // The destination has the weight 0, so removing it costs no new connection. IPVS ends its connections
      // with it, and the host's own stack refuses their further packets.
      if (carried !== undefined) kernel.deleteDestination(serviceKey(server), wanted);
      // Connections that another balancer began are known only to connection tracking.
      const tracked = trackedTo(server, id);
      forget(netfilter, familyNumber(server), tracked);
      return Math.max(tracked.length, carried === undefined ? 0 : carried.active + carried.inactive);
    },

    counts(of) {
      const denied = deniedNow(of);
      const keys = of === undefined ? known.keys() : [...of].filter((key) => known.has(key));
      return Array.from(givingMemoryBack(keys), (key): ServerCounts => {
        const server = unpackServer(known.get(key) ?? '');
        const dropped = denied(key, server);
        const listed = new Map(kernel.destinations(serviceKey(server)).map((each) => [destinationId(each), each]));
        return {
          key,
          ...(dropped !== undefined && { denied: dropped }),
          destinations: server.destinations.map(({ address, port, weight }) => {
            const id = destinationId({ address: addressBytes(address), port });
            const found = listed.get(id);
            // IPVS counts every UDP connection as inactive.
            const carried = found === undefined ? 0 : server.protocol === 'udp' ? found.active + found.inactive : found.active;
            // A draining destination may have connections from before a switch, which IPVS does not know.
            const active = carried > 0 || weight > 0 ? carried : trackedTo(server, id).filter(({ ending }) => !ending).length;
            return { address, port, connections: found?.connections ?? 0n, active };
          }),
        };
      });
    },

    changedByOthers() {
      if (known.size === 0) return false;
      if (!link.stands() || !tablesStand()) return true;
      looks += 1;
      if (looks % looksBetweenListings !== 0) return false;
      const standing = new Set(ours().map(({ key }) => serviceId(key)));
      return standing.size !== known.size || [...known.keys()].some((key) => !standing.has(serviceId(serviceKey(readKey(key)))));
    },

    tick() {
      if (known.size === 0 || !tablesStand()) return;
      relocate();
      const now = link.onLink();
      const come = now.filter((index) => !links.includes(index));
      const gone = links.filter((index) => !now.includes(index));
      if (come.length === 0 && gone.length === 0) return;
      transact(
        netfilter,
        tableFamilies.flatMap((family) => [
          ...takeFrom(family, new Map([['links', linkElements(gone)]])),
          ...addTo(family, new Map([['links', linkElements(come)]])),
        ]),
      );
      links = now;
    },

    standing() {
      const carried = ours()
        .flatMap(({ key }) => kernel.destinations(key))
        .reduce((sum, { active, inactive }) => sum + active + inactive, 0);
      if (carried > 0) return carried;
      const own = new Set(link.addresses().map((address) => address.toString('hex')));
      return ([2, 10] as const)
        .flatMap((family) => listConnections(netfilter, family))
        .filter(({ from, to, ending }) => !ending && own.has(from.toString('hex')) && own.has(to.toString('hex'))).length;
    },

    retire() {
      sourcesMayDiffer = true;
      link.sourcesFor(
        ours().flatMap(({ key }) => {
          if ('mark' in key || key.family === 10) return [];
          const [destination] = kernel.destinations(key);
          const source = destination === undefined ? undefined : link.facing(destination.address);
          return source === undefined ? [] : [[key.address, source] as const];
        }),
      );
    },

    refuseNew() {
      // From now on, the other balancer decides which clients may connect.
      if (tablesStand()) transact(netfilter, tableFamilies.flatMap(letEverybodyIn));
      for (const { key } of ours()) kernel.refuseNew(key);
    },

    removeAll() {
      for (const { key } of ours()) kernel.deleteService(key);
      known.clear();
      restricted.clear();
      ledger = openLedger(ownNow());
      transact(netfilter, tableFamilies.flatMap(removeTable));
      // The link is deleted last: it shows that something of ours exists, also to the next process if this
      // one is killed here.
      link.delete();
    },

    close,
  };
}
