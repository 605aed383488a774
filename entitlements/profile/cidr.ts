import { bitsOf, contains, networkOf, parsePrefix } from '../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../base/addresses/index.ts';

/** Parses canonical CIDR text: host bits zero. Undefined for any other text. */
export function parseCidr(text: string): IpPrefix | undefined {
  const block = parsePrefix(text);
  return block !== undefined && networkOf(block).value === block.address.value ? block : undefined;
}

/** Returns true if every address of `inner` is one of `outer`. */
export function blockWithin(inner: IpPrefix, outer: IpPrefix): boolean {
  return inner.length >= outer.length && contains(outer, inner.address);
}

/** Returns the two halves of a block, which must have more than one address. */
export function halvesOf({ address, length }: IpPrefix): readonly [IpPrefix, IpPrefix] {
  const half = 1n << BigInt(bitsOf(address.family) - length - 1);
  return [
    { address, length: length + 1 },
    { address: { ...address, value: address.value | half }, length: length + 1 },
  ];
}

/**
 * Returns an address of `block` that is in none of `covers`. Exact: a block is halved while a part of it is
 * covered.
 */
export function uncovered(block: IpPrefix, covers: readonly IpPrefix[]): IpAddress | undefined {
  const touching = covers.filter((cover) => blockWithin(block, cover) || blockWithin(cover, block));
  if (touching.length === 0) return block.address;
  if (touching.some((cover) => blockWithin(block, cover))) return undefined;
  const [lower, upper] = halvesOf(block);
  return uncovered(lower, touching) ?? uncovered(upper, touching);
}
