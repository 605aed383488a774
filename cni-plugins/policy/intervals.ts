import { bitsOf, ipBytes, lastOf, networkOf, parseIp, parsePrefix } from '../spec/address.ts';
import type { IpFamily } from '../spec/address.ts';
import type { Element } from '../netlink/nftables.ts';

/** Sets of addresses of one family as intervals. Pure. */

/** Both ends included. */
export interface Interval {
  readonly low: bigint;
  readonly high: bigint;
}

/** Sorted, disjoint, and with a gap between any two. */
export type Intervals = readonly Interval[];

export const everything = (family: IpFamily): Interval => ({ low: 0n, high: (1n << BigInt(bitsOf(family))) - 1n });

/** An address or a prefix, its host bits ignored. Undefined when it is neither. */
export function intervalOf(text: string): { readonly family: IpFamily; readonly interval: Interval } | undefined {
  const prefix = parsePrefix(text);
  if (prefix !== undefined)
    return { family: prefix.address.family, interval: { low: networkOf(prefix).value, high: lastOf(prefix).value } };
  const address = parseIp(text);
  return address === undefined ? undefined : { family: address.family, interval: { low: address.value, high: address.value } };
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

export function without(from: Intervals, taken: Intervals): Intervals {
  return taken.reduce<Interval[]>(
    (kept, { low, high }) =>
      kept.flatMap((one) => [
        ...(one.low < low ? [{ low: one.low, high: one.high < low ? one.high : low - 1n }] : []),
        ...(one.high > high ? [{ low: one.low > high ? one.low : high + 1n, high: one.high }] : []),
      ]),
    [...from],
  );
}

export function isEverything(intervals: Intervals, family: IpFamily): boolean {
  const [only] = intervals;
  return intervals.length === 1 && only?.low === 0n && only.high === everything(family).high;
}

/** As an interval set of nf_tables takes them: the start of each, and the address after it as its end. */
export function elementsOf(intervals: Intervals, family: IpFamily): Element[] {
  const last = everything(family).high;
  return intervals.flatMap(({ low, high }) => [
    { key: ipBytes({ family, value: low }) },
    ...(high === last ? [] : [{ key: ipBytes({ family, value: high + 1n }), end: true }]),
  ]);
}
