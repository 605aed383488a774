import { contains, parsePrefix } from '../../base/addresses/index.ts';
import type { IpPrefix } from '../../base/addresses/index.ts';

/** Ranges whose addresses cannot reach a pod (RFC 6890). */
const unusable = [
  { of: 'of this network alone', prefixes: ['0.0.0.0/8', '::/128'] },
  { of: 'of loopback', prefixes: ['127.0.0.0/8', '::1/128'] },
  { of: 'of multicast', prefixes: ['224.0.0.0/4', 'ff00::/8'] },
  { of: 'reserved', prefixes: ['240.0.0.0/4'] },
  { of: 'of one link only', prefixes: ['fe80::/10'] },
].map(({ of, prefixes }) => ({ of, prefixes: prefixes.flatMap((text) => parsePrefix(text) ?? []) }));

/** Returns what addresses of a subnet are, such as `of loopback`, if no pod could be reached through them. */
export function unusableIn(subnet: IpPrefix): string | undefined {
  return unusable.find(({ prefixes }) =>
    prefixes.some((other) => contains(subnet, other.address) || contains(other, subnet.address)),
  )?.of;
}
