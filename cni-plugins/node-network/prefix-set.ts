import { bitsOf } from '../../base/addresses/index.ts';
import type { IpFamily, IpPrefix } from '../../base/addresses/index.ts';

/**
 * Prefixes with their owners, of which no two overlap. Prefixes are nested or disjoint, so a question looks
 * at each length once, however many prefixes there are.
 */
export interface PrefixSet {
  /** Returns the owner of a prefix in the set that overlaps this one. */
  overlapping(prefix: IpPrefix): string | undefined;
  /** Adds a prefix that overlaps none. */
  add(prefix: IpPrefix, owner: string): void;
}

/** @param ranges every prefix that is added or asked for is in one of these */
export function createPrefixSet(ranges: readonly IpPrefix[]): PrefixSet {
  const shortest = (family: IpFamily): number =>
    ranges.reduce(
      (least, { address, length }) => (address.family === family ? Math.min(least, length) : least),
      128,
    );
  const lengths = { 4: shortest(4), 6: shortest(6) };
  const owners = new Map<string, string>();
  /** The owner of one prefix below each of these. */
  const above = new Map<string, string>();
  return {
    overlapping(prefix) {
      const below = above.get(keyOf(prefix, prefix.length));
      if (below !== undefined) return below;
      for (let length = prefix.length; length >= lengths[prefix.address.family]; length--) {
        const owner = owners.get(keyOf(prefix, length));
        if (owner !== undefined) return owner;
      }
      return undefined;
    },
    add(prefix, owner) {
      owners.set(keyOf(prefix, prefix.length), owner);
      for (let length = prefix.length - 1; length >= lengths[prefix.address.family]; length--)
        above.set(keyOf(prefix, length), owner);
    },
  };
}

function keyOf({ address }: IpPrefix, length: number): string {
  const { family } = address;
  return `${family} ${length} ${address.value >> BigInt(bitsOf(family) - length)}`;
}
