import {
  macBytes,
  macText,
  addForwarding,
  deleteForwarding,
  deleteNeighbour,
  listForwarding,
  listNeighbours,
  putNeighbour,
  deleteRoute,
  listRoutes,
  mainTable,
  replaceRoute,
  routeScopes,
} from '../../../base/netlink/index.ts';
import type { TableRoute, NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import { contains, formatIp, ipBytes, ipFromBytes, parsePrefix } from '../../../base/addresses/index.ts';
import { bytesOf } from './links.ts';
import type { Entry } from './entries.ts';
import type { OverlayNetwork } from '../records/settings.ts';

/** Entries as the kernel has them in rtnetlink, without WireGuard peers, which use generic netlink. */

function routeOf(index: number, entry: Entry & { kind: 'route' }): TableRoute {
  const subnet = parsePrefix(entry.subnet);
  if (subnet === undefined) throw new Error(`${entry.subnet} was not read`);
  return {
    index,
    destination: ipBytes(subnet.address),
    length: subnet.length,
    table: mainTable,
    scope:
      entry.gateway === undefined && subnet.address.family === 4 ? routeScopes.link : routeScopes.universe,
    ...(entry.gateway === undefined ? {} : { gateway: bytesOf(entry.gateway), onLink: true }),
    ...(entry.source === undefined ? {} : { source: bytesOf(entry.source) }),
    ...(entry.mtu === undefined ? {} : { mtu: entry.mtu }),
  };
}

/** @param index of the overlay's link @returns none for a peer */
export function requestsFor(index: number, entry: Entry, act: 'put' | 'remove'): Request[] {
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
      return [isPut ? replaceRoute(routeOf(index, entry)) : deleteRoute(routeOf(index, entry))];
    // Peers are set by generic netlink, separately.
    case 'peer':
      return [];
  }
}

/** Returns the entries of the link: of its routes, those into these networks. */
export function listEntries(
  route: NetlinkSocket,
  index: number,
  networks: readonly OverlayNetwork[],
): Entry[] {
  const routes = listRoutes(route).flatMap((found): Entry[] => {
    const destination = ipFromBytes(found.destination);
    if (
      found.index !== index ||
      found.table !== mainTable ||
      !networks.some(({ prefix }) => contains(prefix, destination))
    )
      return [];
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
  return [...routes, ...forwarding, ...neighbours];
}
