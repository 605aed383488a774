import { NETLINK_ROUTE } from '../../base/kernel/index.ts';
import { macBytes, macText } from '../netlink/link-settings.ts';
import { addForwarding, deleteForwarding, deleteNeighbour, listForwarding, listNeighbours, putNeighbour } from '../netlink/neighbours.ts';
import { deleteRoute, listRoutes, mainTable, replaceRoute, routeScopes } from '../netlink/route-tables.ts';
import type { TableRoute } from '../netlink/route-tables.ts';
import { openNetlink } from '../netlink/socket.ts';
import type { NetlinkSocket, Request } from '../netlink/socket.ts';
import { contains, formatIp, ipBytes, ipFromBytes, parseIp, parsePrefix } from '../spec/address.ts';
import { difference, keyOf } from './entries.ts';
import type { Entry, Own } from './entries.ts';
import { ensureVxlan, findUnderlay } from './links.ts';
import type { Underlay } from './links.ts';
import { ensureMasquerade } from './masquerade.ts';

/** What the kernel holds of the overlay. Synchronous, for a Worker; acts in the network namespace where it was opened. */
export interface DataPlane {
  /** @throws OVERLAY_UNDERLAY_MISSING */
  underlay(wanted: string): Underlay;
  /**
   * Brings the kernel from whatever it holds to exactly these: links, addresses, rules, entries, by its own lists.
   * @returns what was not so. @throws NETWORK_KERNEL_…
   */
  reconcile(own: Own, wanted: ReadonlyMap<string, Entry>): readonly string[];
  /** What stands is `held`; takes and gives what differs. Costs by what changes. */
  change(held: ReadonlyMap<string, Entry>, wanted: ReadonlyMap<string, Entry>): void;
  close(): void;
}

const bytesOf = (text: string): Buffer => {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`${text} was not read`);
  return ipBytes(address);
};

export function openDataPlane(vni: number): DataPlane {
  const route = openNetlink(NETLINK_ROUTE);
  /** Of our link; 0: it was not made yet. */
  let index = 0;

  const routeOf = (entry: Entry & { kind: 'route' }): TableRoute => {
    const subnet = parsePrefix(entry.subnet);
    if (subnet === undefined) throw new Error(`${entry.subnet} was not read`);
    return {
      index,
      destination: ipBytes(subnet.address),
      length: subnet.length,
      table: mainTable,
      scope: entry.gateway === undefined && subnet.address.family === 4 ? routeScopes.link : routeScopes.universe,
      ...(entry.gateway === undefined ? {} : { gateway: bytesOf(entry.gateway), onLink: true }),
      ...(entry.source === undefined ? {} : { source: bytesOf(entry.source) }),
      ...(entry.mtu === undefined ? {} : { mtu: entry.mtu }),
    };
  };

  const requestFor = (entry: Entry, act: 'put' | 'remove'): Request[] => {
    const isPut = act === 'put';
    switch (entry.kind) {
      case 'forwarding': {
        const forwarding = { mac: macBytes(entry.mac), remote: bytesOf(entry.remote) };
        return [isPut ? addForwarding(index, forwarding) : deleteForwarding(index, forwarding)];
      }
      case 'neighbour': {
        const neighbour = { address: bytesOf(entry.address), mac: macBytes(entry.mac) };
        return [isPut ? putNeighbour(index, neighbour) : deleteNeighbour(index, neighbour)];
      }
      case 'route':
        return [isPut ? replaceRoute(routeOf(entry)) : deleteRoute(routeOf(entry))];
    }
  };

  const apply = (held: ReadonlyMap<string, Entry>, wanted: ReadonlyMap<string, Entry>): readonly string[] => {
    const { remove, put } = difference(held, wanted);
    // What went with its link is gone already.
    for (const refusal of send(
      route,
      remove.flatMap((entry) => requestFor(entry, 'remove')),
    ))
      if (!['ENOENT', 'ESRCH', 'ENODEV'].includes(refusal.code.slice('NETWORK_KERNEL_'.length))) throw refusal;
    for (const refusal of send(
      route,
      put.flatMap((entry) => requestFor(entry, 'put')),
    ))
      throw refusal;
    return [...remove.map((entry) => `${keyOf(entry)} stood`), ...put.map((entry) => `${keyOf(entry)} was missing or another`)];
  };

  const read = ({ networks }: Own): Map<string, Entry> => {
    const routes = listRoutes(route).flatMap((found): Entry[] => {
      const destination = ipFromBytes(found.destination);
      if (found.index !== index || found.table !== mainTable || !networks.some(({ prefix }) => contains(prefix, destination))) return [];
      return [
        {
          kind: 'route',
          subnet: `${formatIp(destination)}/${found.length}`,
          ...(found.gateway === undefined ? {} : { gateway: formatIp(ipFromBytes(found.gateway)) }),
          ...(found.source === undefined ? {} : { source: formatIp(ipFromBytes(found.source)) }),
          ...(found.mtu === undefined ? {} : { mtu: found.mtu }),
        },
      ];
    });
    const forwarding = listForwarding(route, index).map(({ mac, remote }): Entry => ({
      kind: 'forwarding',
      mac: macText(mac),
      remote: formatIp(ipFromBytes(remote)),
    }));
    const neighbours = listNeighbours(route, index).map(({ address, mac }): Entry => ({
      kind: 'neighbour',
      address: formatIp(ipFromBytes(address)),
      mac: macText(mac),
    }));
    return new Map([...routes, ...forwarding, ...neighbours].map((entry) => [keyOf(entry), entry]));
  };

  return {
    underlay: (wanted) => findUnderlay(route, wanted),
    reconcile(own, wanted) {
      const found: string[] = [];
      const vxlan = ensureVxlan(route, own, vni);
      ({ index } = vxlan);
      if (vxlan.changed) found.push('the link portcullis-vx was missing or another');
      if (ensureMasquerade(own.networks)) found.push('the table portcullis-overlay was missing or another');
      return [...found, ...apply(read(own), wanted)];
    },
    change: (held, wanted) => void apply(held, wanted),
    close: () => route.close(),
  };
}

/** So many that their answers fit the socket's buffer. */
const atOnce = 500;

function* send(route: NetlinkSocket, requests: readonly Request[]): Generator<{ code: string } & Error> {
  for (let at = 0; at < requests.length; at += atOnce) {
    const batch = requests.slice(at, at + atOnce);
    for (const { error } of route.send(batch)) yield error;
  }
}
