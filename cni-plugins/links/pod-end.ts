import {
  rename,
  setMac,
  lookUp,
  setDown,
  listEveryAddress,
  listEveryRoute,
  mainTable,
  readAddress,
  readRoute,
} from '../../base/netlink/index.ts';
import type { Link, NetlinkSocket } from '../../base/netlink/index.ts';
import { canonicalIp, formatIp, ipFromBytes, networkOf, parsePrefix } from '../../base/addresses/index.ts';
import { configurePod } from './pod-link.ts';
import type { AttachmentSpec } from '../database/record.ts';

/**
 * The pod's end of its link, inside the pod's network namespace. A process with NET_ADMIN there can change
 * it.
 */

/**
 * A pod may add any number of addresses and routes. The kernel lists older addresses and default routes
 * first.
 */
const mostListed = 4096;

/**
 * Returns what the pod's end is missing compared to the record, as text. Additions are not reported: the
 * host's rules let no other source address through. Returns nothing if the kernel lists more than is read.
 * @param route socket in the pod's namespace; it cannot be used for further queries afterwards
 */
export function podEndDifferences(
  spec: AttachmentSpec,
  route: NetlinkSocket,
  index: number,
): readonly string[] {
  const end = lookUp(route, { index });
  // The end does not exist, so the whole link is gone.
  if (end === undefined) return [];
  const ofLink = linkDifferences(spec, end);
  const addresses = route.first(listEveryAddress, mostListed);
  const held = new Set(
    addresses.listed
      .flatMap(readAddress)
      .filter((one) => one.index === index)
      .map(({ address, length }) => `${formatIp(ipFromBytes(address))}/${length}`),
  );
  if (!addresses.whole) return ofLink;
  const missing = spec.addresses
    .map(({ ip, prefixLength }) => `${canonical(ip)}/${prefixLength}`)
    .filter((own) => !held.has(own));
  return [
    ...ofLink,
    ...missing.map((own) => `the address ${own} is missing`),
    ...missingRoutes(spec, route, index),
  ];
}

function linkDifferences({ interface: name, mac }: AttachmentSpec, end: Link): string[] {
  return [
    ...(end.name === name ? [] : [`it has the name ${end.name}`]),
    ...(end.up ? [] : ['it is down']),
    ...(end.mac === mac ? [] : [`its MAC address is ${end.mac}`]),
  ];
}

function missingRoutes({ routes }: AttachmentSpec, route: NetlinkSocket, index: number): string[] {
  const { listed, whole } = route.first(listEveryRoute, mostListed);
  if (!whole) return [];
  const keyOf = (destination: string, gateway: string | undefined): string =>
    `${destination}${gateway === undefined ? '' : ` by ${gateway}`}`;
  const held = new Set(
    listed
      .flatMap(readRoute)
      .filter((one) => one.index === index && one.table === mainTable)
      .map(({ destination, length, gateway }) =>
        keyOf(
          `${formatIp(ipFromBytes(destination))}/${length}`,
          gateway === undefined ? undefined : formatIp(ipFromBytes(gateway)),
        ),
      ),
  );
  return routes.flatMap(({ dst, gw }) => {
    const prefix = parsePrefix(dst);
    if (prefix === undefined) return [];
    const key = keyOf(
      `${formatIp(networkOf(prefix))}/${prefix.length}`,
      gw === undefined ? undefined : canonical(gw),
    );
    return held.has(key) ? [] : [`the route to ${key} is missing`];
  });
}

const canonical = (ip: string): string => canonicalIp(ip) ?? ip;

/** @throws NETWORK_KERNEL_<ERRNO> if another link of the pod has the name, or the end is gone */
export function restorePodEnd(
  spec: AttachmentSpec,
  route: NetlinkSocket,
  index: number,
  hasIpv6: boolean,
): void {
  const end = lookUp(route, { index });
  if (end !== undefined && (end.name !== spec.interface || end.mac !== spec.mac))
    route.run([setDown({ index }), rename(index, spec.interface), setMac(index, spec.mac)]);
  configurePod(spec, route, index, hasIpv6);
}
