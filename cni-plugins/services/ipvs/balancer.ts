import { NETLINK_GENERIC, NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { forget, listConnections } from '../../netlink/connections.ts';
import type { TrackedConnection } from '../../netlink/connections.ts';
import { getTable, transact } from '../../netlink/nftables.ts';
import { openNetlink } from '../../netlink/socket.ts';
import type { NetlinkSocket } from '../../netlink/socket.ts';
import { keyOf } from '../model.ts';
import type { Balancer, ServerCounts, ServerKey, VirtualServer } from '../model.ts';
import { openIpvsKernel } from './kernel.ts';
import type { IpvsKernel } from './kernel.ts';
import type { IpvsService } from '../../netlink/ipvs.ts';
import { openLedger } from './ledger.ts';
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
import { addTo, linkElements, rebuild, removeTable, tableFamilies, tableOf, takeFrom } from './tables.ts';

/** A balancer that can be followed by another one: it says what it still carries. */
export interface IpvsBalancer extends Balancer {
  readonly kind: 'ipvs';
  /** Connections that stand or are just ending, of all that is ours in the kernel, and those of the host itself that have one of our addresses. */
  standing(): number;
  /** Another balancer is about to take new connections; those that stand go on until `removeAll`. */
  retire(): void;
}

/**
 * Virtual servers by IPVS in the network namespace of the calling thread. What stands there from an earlier run goes on until `reconcile`.
 * @throws NETWORK_IPVS_MISSING · NETWORK_IPVS_SETTING · NETWORK_KERNEL_*
 */
export function openIpvsBalancer(): IpvsBalancer {
  const generic = openNetlink(NETLINK_GENERIC);
  const netfilter = openNetlink(NETLINK_NETFILTER);
  const link = openServiceLink();
  const close = (): void => {
    for (const each of [generic, netfilter, link]) each.close();
  };
  try {
    const requests = openIpvs(generic);
    settle(generic, requests);
    return balancerOver({ kernel: openIpvsKernel(generic, requests), link, netfilter, close });
  } catch (thrown) {
    close();
    throw thrown;
  }
}

interface Parts {
  readonly kernel: IpvsKernel;
  readonly link: ServiceLink;
  readonly netfilter: NetlinkSocket;
  readonly close: () => void;
}

/** How many looks at drift go by between two that list all services: the listing costs as much as there are. */
const looksBetweenListings = 30;

function balancerOver({ kernel, link, netfilter, close }: Parts): IpvsBalancer {
  const known = new Map<ServerKey, VirtualServer>();
  let ledger = openLedger();
  let links: readonly number[] = [];
  let looks = 0;

  const rebuildTables = (): void => {
    links = link.onLink();
    const requests = tableFamilies.flatMap((family) =>
      rebuild(family, new Map([...ledger.elements(family), ['links', linkElements(links)]])),
    );
    transact(netfilter, requests);
  };

  const ours = (): IpvsService[] => {
    const held = new Set(link.addresses().map((address) => address.toString('hex')));
    return kernel
      .services()
      .filter(({ key }) => ('mark' in key ? isNodePortMark(key.mark) : held.has(Buffer.from(key.address).toString('hex'))));
  };

  /** Connections to the server that one destination answers, by whichever balancer. */
  const trackedTo = (server: Pick<VirtualServer, 'family' | 'protocol' | 'address' | 'port'>, id: string): TrackedConnection[] =>
    listConnections(netfilter, familyNumber(server), {
      protocol: protocolNumber(server.protocol),
      portTo: server.port,
      ...(server.address === undefined ? {} : { to: addressBytes(server.address) }),
    }).filter(({ answeredBy, answeringPort }) => destinationId({ address: answeredBy, port: answeringPort }) === id);

  const tablesStand = (): boolean => tableFamilies.every((family) => netfilter.find(getTable(tableOf(family)), 'ENOENT') !== undefined);

  return {
    kind: 'ipvs',
    refuse,

    reconcile(servers) {
      link.make();
      const standing = new Map(ours().map((service) => [serviceId(service.key), service]));
      known.clear();
      for (const server of servers) known.set(keyOf(server), server);
      ledger = openLedger();
      ledger.change([], [...known.values()]);
      // The virtual addresses first: they say that a service is ours, also to the next run of a process that is killed here.
      const held = new Set(link.addresses().map((address) => address.toString('hex')));
      const wanted = new Map(ledger.addresses().map((address) => [address.toString('hex'), address]));
      rebuildTables();
      link.add([...wanted].filter(([hex]) => !held.has(hex)).map(([, address]) => address));
      let changed = 0;
      for (const server of known.values()) {
        const service = serviceOf(server);
        const id = serviceId(service.key);
        // One that others made at the same address and port is taken over.
        if (kernel.put(service, destinationsOf(server), standing.get(id))) changed += 1;
        standing.delete(id);
      }
      for (const { key } of standing.values()) kernel.deleteService(key);
      const stale = [...held].filter((hex) => !wanted.has(hex));
      link.remove(stale.map((hex) => Buffer.from(hex, 'hex')));
      return changed + standing.size;
    },

    change(put, remove) {
      const gone = remove.flatMap((key) => known.get(key) ?? []);
      const replaced = put.flatMap((server) => known.get(keyOf(server)) ?? []);
      const step = ledger.change([...gone, ...replaced], put);
      transact(
        netfilter,
        [...step.add].flatMap(([family, elements]) => addTo(family, elements)),
      );
      link.add(step.newAddresses);
      for (const server of put) {
        kernel.put(serviceOf(server), destinationsOf(server));
        known.set(keyOf(server), server);
      }
      for (const server of gone) {
        kernel.deleteService(serviceKey(server));
        known.delete(keyOf(server));
      }
      link.remove(step.oldAddresses);
      transact(
        netfilter,
        [...step.take].flatMap(([family, elements]) => takeFrom(family, elements)),
      );
    },

    cut(key, destination) {
      const server = readKey(key);
      const wanted = { address: addressBytes(destination.address), port: destination.port };
      const id = destinationId(wanted);
      const carried = kernel.destinations(serviceKey(server)).find((each) => destinationId(each) === id);
      // Without weight it is not missed; IPVS ends its connections with it, and the host's own stack refuses what comes for them.
      if (carried !== undefined) kernel.deleteDestination(serviceKey(server), wanted);
      // Those that another balancer had begun are known to connection tracking alone.
      const tracked = trackedTo(server, id);
      forget(netfilter, familyNumber(server), tracked);
      return Math.max(tracked.length, carried === undefined ? 0 : carried.active + carried.inactive);
    },

    counts: () =>
      [...known].map(([key, server]): ServerCounts => {
        const listed = new Map(kernel.destinations(serviceKey(server)).map((each) => [destinationId(each), each]));
        return {
          key,
          destinations: server.destinations.map(({ address, port, weight }) => {
            const id = destinationId({ address: addressBytes(address), port });
            const found = listed.get(id);
            // IPVS calls every connection of UDP inactive.
            const carried = found === undefined ? 0 : server.protocol === 'udp' ? found.active + found.inactive : found.active;
            // One that drains may have connections from before a switch, which are not IPVS's.
            const active = carried > 0 || weight > 0 ? carried : trackedTo(server, id).filter(({ ending }) => !ending).length;
            return { address, port, connections: found?.connections ?? 0n, active };
          }),
        };
      }),

    changedByOthers() {
      if (known.size === 0) return false;
      if (!link.stands() || !tablesStand()) return true;
      looks += 1;
      if (looks % looksBetweenListings !== 0) return false;
      const standing = new Set(ours().map(({ key }) => serviceId(key)));
      return standing.size !== known.size || [...known.values()].some((server) => !standing.has(serviceId(serviceKey(server))));
    },

    tick() {
      if (known.size === 0 || !tablesStand()) return;
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
      for (const { key } of ours()) {
        if ('mark' in key || key.family === 10) continue;
        const [destination] = kernel.destinations(key);
        const source = destination === undefined ? undefined : link.facing(destination.address);
        if (source !== undefined) link.sourceFor(key.address, source);
      }
    },

    removeAll() {
      for (const { key } of ours()) kernel.deleteService(key);
      known.clear();
      ledger = openLedger();
      link.delete();
      transact(netfilter, tableFamilies.flatMap(removeTable));
    },

    close,
  };
}
