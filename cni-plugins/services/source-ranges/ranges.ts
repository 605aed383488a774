import {
  contains,
  formatIp,
  ipFromBytes,
  lastOf,
  networkOf,
  parseIp,
  parsePrefix,
} from '../../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../../base/addresses/index.ts';
import type { VirtualServer } from '../model/model.ts';

/** Prefixes from which clients may connect to a virtual server. Pure. */

/**
 * Returns a prefix such as `192.0.2.0/24` in canonical form, without host bits. Undefined: the text is not a
 * prefix.
 */
export function canonicalRange(text: string): string | undefined {
  const prefix = parsePrefix(text);
  return prefix && `${formatIp(networkOf(prefix))}/${prefix.length}`;
}

/**
 * Returns the ranges of one family, as a virtual server has them. Undefined: every client may connect,
 * because a range says so or there is none.
 */
export function rangesOfFamily(
  ranges: readonly string[] | undefined,
  family: 4 | 6,
): readonly string[] | undefined {
  const own = (ranges ?? []).filter((text) => parsePrefix(text)?.address.family === family);
  return own.length === 0 || own.some((text) => text.endsWith('/0')) ? undefined : own;
}

const includes = (prefixes: readonly IpPrefix[], address: IpAddress): boolean =>
  prefixes.some((prefix) => contains(prefix, address));

/**
 * Returns the prefixes from which clients may connect to a virtual server, each once and none inside another.
 * If they include the host's own address, they also include the virtual address: it is the source of the
 * host's own connections if it is an address of the host (kube-proxy's `allowFromNode`).
 * @param own the host's address of the server's family
 */
export function sourcesOf(
  { sourceRanges, address }: VirtualServer,
  own: Uint8Array | undefined,
): readonly IpPrefix[] {
  const prefixes = (sourceRanges ?? []).flatMap((text) => parsePrefix(text) ?? []);
  const virtual = address === undefined ? undefined : parseIp(address);
  if (own !== undefined && virtual !== undefined && includes(prefixes, ipFromBytes(own)))
    prefixes.push({ address: virtual, length: virtual.family === 4 ? 32 : 128 });
  const kept = outermost(prefixes);
  return prefixes.filter((prefix) => kept.has(prefix)).toSorted((a, b) => a.length - b.length);
}

/**
 * One pass in the order of addresses: of two prefixes, either one contains the other, or they do not overlap.
 */
function outermost(prefixes: readonly IpPrefix[]): ReadonlySet<IpPrefix> {
  const ordered = prefixes
    .map((prefix) => ({ prefix, low: networkOf(prefix).value, high: lastOf(prefix).value }))
    .toSorted((a, b) => (a.low < b.low ? -1 : a.low > b.low ? 1 : a.prefix.length - b.prefix.length));
  const kept = new Set<IpPrefix>();
  let end = -1n;
  for (const { prefix, low, high } of ordered) {
    if (low <= end) continue;
    kept.add(prefix);
    end = high;
  }
  return kept;
}

/** Whether an address of 4 or 16 bytes may connect. */
export const mayConnect = (server: VirtualServer, own: Uint8Array | undefined, from: Uint8Array): boolean =>
  server.sourceRanges === undefined || includes(sourcesOf(server, own), ipFromBytes(from));
