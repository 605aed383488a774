import { largest } from '../../../base/lists/index.ts';

/** Computes how many slots a virtual server gets, and how many each destination gets. */

/** Sizes of a slot table for hashes. The slots of each table are in the smallest map that takes them. */
export const slotSizes = [16, 64, 256, 1024] as const;
export type SlotSize = (typeof slotSizes)[number];
export const mostSlots = 1024;
/**
 * A table has more slots than this only for more destinations than this: weights are never so important that
 * every server of a host should take a thousand elements.
 */
export const usualSlots = 256;

/** How far a destination's share of the slots may differ from its share of the weights. */
const tolerance = 0.05;

/** A destination with a unique name. `weight` is positive. */
export interface Weighted {
  readonly name: string;
  readonly weight: number;
}

/**
 * Returns the slots of each destination by the method of largest remainders, at least one each. Their sum is
 * `size`.
 * @param all at most `size` destinations
 */
export function sharesOf(all: readonly Weighted[], size: number): ReadonlyMap<string, number> {
  const ones = all.length === size ? new Map(all.map(({ name }) => [name, 1])) : undefined;
  if (ones?.size === size) return ones;
  const total = all.reduce((sum, { weight }) => sum + weight, 0);
  const exact = all.map(({ name, weight }) => ({ name, exact: (size * weight) / total }));
  const shares = new Map(exact.map((each) => [each.name, Math.max(1, Math.floor(each.exact))]));
  let left = size - [...shares.values()].reduce((sum, share) => sum + share, 0);
  // The largest remainder first. Equal ones are ordered by name, so that the order of the list decides
  // nothing.
  const due = (each: (typeof exact)[number]): number => each.exact - (shares.get(each.name) ?? 0);
  const compare = (a: (typeof exact)[number], b: (typeof exact)[number]): number =>
    due(b) - due(a) || (a.name < b.name ? -1 : 1);
  // The sum of what is due is `left`, and nothing is due as much as one: each gets one at most.
  for (const { name } of left > 0 ? exact.toSorted(compare).slice(0, left) : []) give(shares, name, 1);
  // A destination that got one slot for a smaller share takes it from the one with the most slots above its
  // share. There may be a thousand of both, so they are not sorted again for each slot.
  for (; left < 0; left += 1) {
    let last: (typeof exact)[number] | undefined;
    for (const each of exact)
      if ((shares.get(each.name) ?? 0) > 1 && (last === undefined || compare(each, last) > 0)) last = each;
    give(shares, last?.name, -1);
  }
  return shares;
}

function give(shares: Map<string, number>, name: string | undefined, more: number): void {
  if (name !== undefined) shares.set(name, (shares.get(name) ?? 0) + more);
}

/** Returns the largest relative difference between a share of the slots and its share of the weights. */
export function errorOf(all: readonly Weighted[], shares: ReadonlyMap<string, number>): number {
  const total = all.reduce((sum, { weight }) => sum + weight, 0);
  const size = [...shares.values()].reduce((sum, share) => sum + share, 0);
  return Math.max(
    0,
    largest(all.map(({ name, weight }) => Math.abs(((shares.get(name) ?? 0) * total) / (size * weight) - 1))),
  );
}

/** The most slots that are written to meet the weights exactly, where a fixed size would be near enough. */
const mostExact = 64;

/**
 * Returns the number of slots for connections that take the slots in turn or by chance. Unlike a hash, a draw
 * does not depend on the number of slots, so there are as few as meet the weights exactly: three equal
 * destinations get three slots, where a hash needs 64.
 */
export function turnSizeFor(all: readonly Weighted[]): number {
  const divisor = all.reduce((found, { weight }) => greatestDivisor(found, weight), 0);
  const total = all.reduce((sum, { weight }) => sum + weight / divisor, 0);
  // A table of 1024 slots would give some of 700 equal destinations twice as many connections as others.
  const most = all.length > usualSlots ? mostSlots : mostExact;
  return total <= most ? total : sizeFor(all);
}

const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b));

/**
 * Returns the smallest size that meets all weights within 5 %. If no size does, returns the one that comes
 * nearest of those for this many destinations.
 * @param all at most {@link mostSlots} destinations
 */
export function sizeFor(all: readonly Weighted[]): SlotSize {
  if (all.length > usualSlots) return mostSlots;
  const fits = (size: SlotSize): boolean =>
    all.length <= size && errorOf(all, sharesOf(all, size)) <= tolerance;
  return slotSizes.find((size) => size >= usualSlots || fits(size)) ?? usualSlots;
}
