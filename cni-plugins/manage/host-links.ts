import { linkGroups } from '../attach/record.ts';
import { NETLINK_ROUTE } from '../../base/kernel/index.ts';
import { deleteLink, listLinks, readLink } from '../netlink/links.ts';
import type { Link } from '../netlink/links.ts';
import { isRefusal } from '../netlink/kernel-failure.ts';
import { listHostAddresses } from '../netlink/route-tables.ts';
import { openNetlink } from '../netlink/socket.ts';
import { ipFromBytes } from '../spec/address.ts';
import type { IpAddress } from '../spec/address.ts';

/** Of all links, as they are up or down. Of the caller's network namespace. Synchronous. @throws NETWORK_KERNEL_<ERRNO> */
export function hostAddresses(): readonly { readonly link: string; readonly address: IpAddress }[] {
  const route = openNetlink(NETLINK_ROUTE);
  try {
    const names = new Map(
      route
        .dump(listLinks)
        .map(readLink)
        .map(({ index, name }) => [index, name]),
    );
    return listHostAddresses(route).map(({ index, address }) => ({ link: names.get(index) ?? '', address: ipFromBytes(address) }));
  } finally {
    route.close();
  }
}

/** Names of all links of the caller's network namespace. Synchronous. @throws NETWORK_KERNEL_<ERRNO> */
export function linkNames(): ReadonlySet<string> {
  const route = openNetlink(NETLINK_ROUTE);
  try {
    return new Set(route.dump(listLinks).map((message) => readLink(message).name));
  } finally {
    route.close();
  }
}

/**
 * Removes bridges that our plugins made and that have no port, with their addresses and routes: the host would go on routing a subnet to them that
 * another network has by now. Bridges that stood before, or that somebody put a link on, stay. Of the caller's network namespace. Synchronous; root only.
 * @returns those that were removed
 * @throws NETWORK_KERNEL_<ERRNO>
 */
export function removeIdleBridges(names: readonly string[]): readonly string[] {
  if (names.length === 0) return [];
  const route = openNetlink(NETLINK_ROUTE);
  try {
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
  } finally {
    route.close();
  }
}
