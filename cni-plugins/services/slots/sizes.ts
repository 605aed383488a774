import { largest } from '../../../base/lists/index.ts';

/** Computes how many slots a virtual server gets, and how many each destination gets. */

/** Sizes of a slot table. Each size has one constant rule. */
export const slotSizes = [16, 64, 256] as const;
export type SlotSize = (typeof slotSizes)[number];
export const mostSlots = 256;

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
  const total = all.reduce((sum, { weight }) => sum + weight, 0);
  const exact = all.map(({ name, weight }) => ({ name, exact: (size * weight) / total }));
  const shares = new Map(exact.map((each) => [each.name, Math.max(1, Math.floor(each.exact))]));
  let left = size - [...shares.values()].reduce((sum, share) => sum + share, 0);
  // The largest remainder first. Equal ones are ordered by name, so that the order of the list decides
  // nothing.
  const due = (each: (typeof exact)[number]): number => each.exact - (shares.get(each.name) ?? 0);
  const compare = (a: (typeof exact)[number], b: (typeof exact)[number]): number =>
    due(b) - due(a) || (a.name < b.name ? -1 : 1);
  for (; left > 0; left -= 1) give(shares, exact.toSorted(compare)[0]?.name, 1);
  // A destination that got one slot for a smaller share takes it from the one with the most slots above its
  // share.
  for (; left < 0; left += 1)
    give(
      shares,
      exact
        .filter(({ name }) => (shares.get(name) ?? 0) > 1)
        .toSorted(compare)
        .at(-1)?.name,
      -1,
    );
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

/**
 * Returns the smallest size that meets all weights within 5 %. If no size does, returns the largest, which
 * comes nearest.
 */
export function sizeFor(all: readonly Weighted[]): SlotSize {
  const fits = (size: SlotSize): boolean =>
    all.length <= size && errorOf(all, sharesOf(all, size)) <= tolerance;
  return slotSizes.find(fits) ?? mostSlots;
}
