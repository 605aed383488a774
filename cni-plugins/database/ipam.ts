import { lastOf, networkOf } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { AddressRange, RangeSet } from '../spec/network-config.ts';

/** Chooses the next address to lease: round robin over the ranges of a set, as `host-local` does. Pure. */

export interface Choice {
  readonly address: IpAddress;
  readonly range: AddressRange;
}

/**
 * Returns the first free address after `last`, wrapping around.
 * @param last the address leased last from this set
 * @param leased leased addresses from `low` to `high`, both included, in ascending order
 * @param taken whether a foreign store holds the address
 * @returns undefined if every address is leased or reserved
 */
export function chooseAddress(
  set: RangeSet,
  last: bigint | undefined,
  leased: (low: bigint, high: bigint) => Iterable<bigint>,
  taken?: (address: IpAddress) => boolean,
): Choice | undefined {
  const reserved = reservedOf(set);
  for (const { range, low, high } of segments(set, last)) {
    const { family } = range.start;
    const passed = (value: bigint): boolean => reserved.has(value) || (taken?.({ family, value }) ?? false);
    const value = firstFree(low, high, leased(low, high), passed);
    if (value !== undefined) return { address: { family: range.start.family, value }, range };
  }
  return undefined;
}

/**
 * Returns the address after `last` if it is in the same range and may be leased. This is nearly always the
 * next address.
 */
export function successorOf(set: RangeSet, last: bigint): Choice | undefined {
  const value = last + 1n;
  const range = set.find(({ start, end }) => start.value <= last && value <= end.value);
  return range === undefined || reservedOf(set).has(value)
    ? undefined
    : { address: { family: range.start.family, value }, range };
}

/** Returns the range that may lease the address, or undefined if no range has it or it is reserved. */
export function rangeOf(set: RangeSet, address: IpAddress): AddressRange | undefined {
  if (reservedOf(set).has(address.value)) return undefined;
  return set.find(
    ({ start, end }) =>
      start.family === address.family && start.value <= address.value && address.value <= end.value,
  );
}

/** Gateways, and the first and last address of each subnet, are never leased. */
function reservedOf(set: RangeSet): ReadonlySet<bigint> {
  const known = reserved.get(set);
  if (known !== undefined) return known;
  const found = new Set(
    set.flatMap((range) => [
      range.gateway.value,
      networkOf(range.subnet).value,
      ...(range.start.family === 4 ? [lastOf(range.subnet).value] : []),
    ]),
  );
  reserved.set(set, found);
  return found;
}

/** A set is read once and used by many calls. */
const reserved = new WeakMap<RangeSet, ReadonlySet<bigint>>();

interface Segment {
  readonly range: AddressRange;
  readonly low: bigint;
  readonly high: bigint;
}

/** Returns the set's addresses as runs that start after `last` and end with it. */
function segments(set: RangeSet, last: bigint | undefined): Segment[] {
  const whole = set.map((range) => ({ range, low: range.start.value, high: range.end.value }));
  const at = whole.findIndex(({ low, high }) => last !== undefined && last >= low && last <= high);
  const current = whole[at];
  if (current === undefined || last === undefined) return whole;
  const before = { ...current, high: last };
  const after = { ...current, low: last + 1n };
  return [...(after.low <= after.high ? [after] : []), ...whole.slice(at + 1), ...whole.slice(0, at), before];
}

function firstFree(
  low: bigint,
  high: bigint,
  leased: Iterable<bigint>,
  passed: (value: bigint) => boolean,
): bigint | undefined {
  let candidate = low;
  const pass = (): void => {
    while (candidate <= high && passed(candidate)) candidate += 1n;
  };
  pass();
  for (const taken of leased) {
    if (taken > candidate) break;
    if (taken === candidate) candidate += 1n;
    pass();
  }
  return candidate <= high ? candidate : undefined;
}
