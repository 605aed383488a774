import { bitsOf, ipBytes, lastOf, networkOf, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';
import type { Element } from '../../../base/netlink/index.ts';

/** Sets of addresses of one family as intervals. Pure. */

/** An interval with both ends included. */
export interface Interval {
  readonly low: bigint;
  readonly high: bigint;
}

/** Sorted and disjoint, with a gap between any two. */
export type Intervals = readonly Interval[];

export const everything = (family: IpFamily): Interval => ({
  low: 0n,
  high: (1n << BigInt(bitsOf(family))) - 1n,
});

/** Parses an address or a prefix; its host bits are ignored. Returns undefined when it is neither. */
export function intervalOf(
  text: string,
): { readonly family: IpFamily; readonly interval: Interval } | undefined {
  const prefix = parsePrefix(text);
  if (prefix !== undefined)
    return {
      family: prefix.address.family,
      interval: { low: networkOf(prefix).value, high: lastOf(prefix).value },
    };
  const address = parseIp(text);
  return address === undefined
    ? undefined
    : { family: address.family, interval: { low: address.value, high: address.value } };
}

export function union(parts: readonly Interval[]): Intervals {
  const merged: Interval[] = [];
  for (const part of parts.toSorted((a, b) => (a.low < b.low ? -1 : a.low > b.low ? 1 : 0))) {
    const last = merged.at(-1);
    if (last === undefined || part.low > last.high + 1n) merged.push(part);
    else if (part.high > last.high) merged[merged.length - 1] = { low: last.low, high: part.high };
  }
  return merged;
}

/**
 * Subtracts in one pass over both lists, because the author of a NetworkPolicy chooses how many holes a block
 * has.
 */
export function without(from: Intervals, taken: Intervals): Intervals {
  const kept: Interval[] = [];
  let at = 0;
  for (const { low: start, high } of from) {
    let low = start;
    for (let hole = taken[at]; hole !== undefined && hole.low <= high; hole = taken[at]) {
      if (hole.low > low) kept.push({ low, high: hole.low - 1n });
      if (hole.high >= low) low = hole.high + 1n;
      // The hole may continue in the next interval.
      if (hole.high > high) break;
      at += 1;
    }
    if (low <= high) kept.push({ low, high });
  }
  return kept;
}

/** Returns the intersection, in one pass. */
export function meet(some: Intervals, others: Intervals): Intervals {
  const both: Interval[] = [];
  for (let [a, b] = [0, 0]; ;) {
    const [one, other] = [some[a], others[b]];
    if (one === undefined || other === undefined) return both;
    const low = one.low > other.low ? one.low : other.low;
    const high = one.high < other.high ? one.high : other.high;
    if (low <= high) both.push({ low, high });
    if (one.high < other.high) a += 1;
    else b += 1;
  }
}

export function isEverything(intervals: Intervals, family: IpFamily): boolean {
  const [only] = intervals;
  return intervals.length === 1 && only?.low === 0n && only.high === everything(family).high;
}

/**
 * Converts intervals to elements of an nf_tables interval set: the start of each, and the address after it as
 * its end.
 */
export function elementsOf(intervals: Intervals, family: IpFamily): Element[] {
  const last = everything(family).high;
  return intervals.flatMap(({ low, high }) => [
    { key: ipBytes({ family, value: low }) },
    ...(high === last ? [] : [{ key: ipBytes({ family, value: high + 1n }), end: true }]),
  ]);
}
