import { linkGroups } from '../database/record.ts';
import { NETLINK_ROUTE } from '../../base/kernel/index.ts';
import {
  deleteLink,
  listLinks,
  readLink,
  isRefusal,
  listHostAddresses,
  listRoutes,
  openNetlink,
} from '../../base/netlink/index.ts';
import type { Link, NetlinkSocket } from '../../base/netlink/index.ts';
import { ipFromBytes } from '../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../base/addresses/index.ts';

/**
 * Returns the addresses of all links of the caller's network namespace, whether the links are up or down.
 * Synchronous.
 * @throws NETWORK_KERNEL_<ERRNO>
 */
export function hostAddresses(): readonly {
  readonly link: string;
  readonly address: IpAddress;
  readonly length: number;
}[] {
  using route = openNetlink(NETLINK_ROUTE);
  const names = namesByIndex(route);
  return listHostAddresses(route).map(({ index, address, length }) => ({
    link: names.get(index) ?? '',
    address: ipFromBytes(address),
    length,
  }));
}

/**
 * Returns the unicast routes of every table of the caller's network namespace. A route with several next hops
 * has the link ''. Synchronous.
 * @throws NETWORK_KERNEL_<ERRNO>
 */
export function hostRoutes(): readonly { readonly link: string; readonly prefix: IpPrefix }[] {
  using route = openNetlink(NETLINK_ROUTE);
  const names = namesByIndex(route);
  return listRoutes(route).map(({ index, destination, length }) => ({
    link: names.get(index) ?? '',
    prefix: { address: ipFromBytes(destination), length },
  }));
}

const namesByIndex = (route: NetlinkSocket): ReadonlyMap<number, string> =>
  new Map(
    route
      .dump(listLinks)
      .map(readLink)
      .map(({ index, name }) => [index, name]),
  );

/**
 * Returns the names of all links of the caller's network namespace. Synchronous.
 * @throws NETWORK_KERNEL_<ERRNO>
 */
export function linkNames(): ReadonlySet<string> {
  using route = openNetlink(NETLINK_ROUTE);
  return new Set(route.dump(listLinks).map((message) => readLink(message).name));
}

/**
 * Removes bridges that our plugins created and that have no port, with their addresses and routes. Otherwise
 * the host would keep routing a subnet to them that another network may have by now. Bridges that existed
 * before, or that another program attached a link to, stay. Acts in the caller's network namespace.
 * Synchronous; root only.
 * @returns the removed bridges
 * @throws NETWORK_KERNEL_<ERRNO>
 */
export function removeIdleBridges(names: readonly string[]): readonly string[] {
  if (names.length === 0) return [];
  using route = openNetlink(NETLINK_ROUTE);
  const links = route.dump(listLinks).map(readLink);
  const isIdle = ({ kind, group, index }: Link): boolean =>
    kind === 'bridge' && group === linkGroups.bridge && !links.some(({ master }) => master === index);
  return links
    .filter((link) => names.includes(link.name) && isIdle(link))
    .filter(({ index }) => {
      try {
        route.run([deleteLink({ index })]);
        return true;
      } catch (thrown) {
        if (isRefusal(thrown, 'ENODEV')) return false;
        throw thrown;
      }
    })
    .map(({ name }) => name);
}
