/**
 * The number of bits of a system call's argument that the kernel reads. Its cast drops the other bits, which
 * must not affect a decision.
 */
export type Width = 16 | 32 | 64;

/**
 * A set of one argument's values: those x of `width` bits with low ≤ x ≤ high and (x & mask) = value. It is
 * never empty, and as tight as possible: low and high themselves match, so that equal simple sets are equal
 * values.
 */
export interface ArgumentTest {
  readonly index: number;
  readonly width: Width;
  readonly low: bigint;
  readonly high: bigint;
  readonly mask: bigint;
  readonly value: bigint;
}

export function maxOf(width: Width): bigint {
  return (1n << BigInt(width)) - 1n;
}

/** Returns the smallest x ≥ low of `width` bits with (x & mask) = value. */
export function smallestMatch(low: bigint, mask: bigint, value: bigint, width: Width): bigint | undefined {
  const wrong = (low ^ value) & mask;
  if (wrong === 0n) return low;
  // x > low: x and low agree above some bit i where low has 0 and x has 1; the lowest such i gives the
  // smallest x.
  for (let i = 0n; i < BigInt(width); i++) {
    const bit = 1n << i;
    if ((low & bit) !== 0n || ((mask & bit) !== 0n && (value & bit) === 0n)) continue;
    if (wrong >> (i + 1n) !== 0n) continue;
    return ((low >> (i + 1n)) << (i + 1n)) | bit | (value & (bit - 1n));
  }
  return undefined;
}

/** Returns the largest x ≤ high with (x & mask) = value: the smallest match of the complemented problem. */
function largestMatch(high: bigint, mask: bigint, value: bigint, width: Width): bigint | undefined {
  const all = maxOf(width);
  const found = smallestMatch(all ^ high, mask, (all ^ value) & mask, width);
  return found === undefined ? undefined : all ^ found;
}

/** Returns a tight test, or undefined if no value passes. Bounds and masks beyond the width are truncated. */
export function argumentTest(
  index: number,
  width: Width,
  set: { low?: bigint; high?: bigint; mask?: bigint; value?: bigint },
): ArgumentTest | undefined {
  const all = maxOf(width);
  const mask = (set.mask ?? 0n) & all;
  const value = set.value ?? 0n;
  if ((value & ~mask) !== 0n) return undefined;
  const wantedHigh = set.high === undefined || set.high > all ? all : set.high;
  const wantedLow = set.low ?? 0n;
  if (wantedLow > wantedHigh) return undefined;
  const low = smallestMatch(wantedLow, mask, value, width);
  if (low === undefined || low > wantedHigh) return undefined;
  const high = largestMatch(wantedHigh, mask, value, width);
  if (high === undefined) return undefined;
  // Above the first bit in which low and high differ, all values agree. Masks have no effect there, and
  // leading masks become intervals.
  const varying = (1n << BigInt((low ^ high).toString(2).length)) - 1n;
  const kept = low === high ? 0n : mask & varying;
  return { index, width, low, high, mask: kept, value: value & kept };
}

export function isAny(test: ArgumentTest): boolean {
  return test.low === 0n && test.mask === 0n && test.high === maxOf(test.width);
}

export function passes(test: ArgumentTest, argument: bigint): boolean {
  const x = argument & maxOf(test.width);
  return x >= test.low && x <= test.high && (x & test.mask) === test.value;
}

export function intersectTests(a: ArgumentTest, b: ArgumentTest): ArgumentTest | undefined {
  if (((a.value ^ b.value) & a.mask & b.mask) !== 0n) return undefined;
  return argumentTest(a.index, a.width, {
    low: a.low > b.low ? a.low : b.low,
    high: a.high < b.high ? a.high : b.high,
    mask: a.mask | b.mask,
    value: a.value | b.value,
  });
}

/**
 * Returns the values that fail the test, as disjoint tests: below, above, and inside the interval with a
 * first mask bit that differs.
 */
export function complementTest(test: ArgumentTest): ArgumentTest[] {
  const { index, width } = test;
  // Bounds that follow from the mask have no effect: without them the pieces stay plain masks.
  const { low, high } = boundsFollowFromMask(test) ? { low: 0n, high: maxOf(width) } : test;
  const found: (ArgumentTest | undefined)[] = [];
  if (low > 0n) found.push(argumentTest(index, width, { high: low - 1n }));
  if (high < maxOf(width)) found.push(argumentTest(index, width, { low: high + 1n }));
  let mask = 0n;
  for (let i = 0n; i < BigInt(width); i++) {
    const bit = 1n << i;
    if ((test.mask & bit) === 0n) continue;
    found.push(
      argumentTest(index, width, {
        low,
        high,
        mask: mask | bit,
        value: (test.value & mask) | (bit & ~test.value),
      }),
    );
    mask |= bit;
  }
  return found.filter((piece) => piece !== undefined);
}

/** Returns true if every value that passes `inner` passes `outer`. */
export function testWithin(inner: ArgumentTest, outer: ArgumentTest): boolean {
  // Low and high are members of the inner set, so these checks decide nearly every case.
  if (inner.low < outer.low || inner.high > outer.high) return false;
  if ((inner.low & outer.mask) !== outer.value || (inner.high & outer.mask) !== outer.value) return false;
  if (
    outer.mask === 0n ||
    ((inner.mask & outer.mask) === outer.mask && (inner.value & outer.mask) === outer.value)
  )
    return true;
  return complementTest(outer).every((outside) => intersectTests(inner, outside) === undefined);
}

/** Returns the test as text: `arg0 in 1…37`, `arg0 & 0x7e020000 = 0x0`. */
export function formatTest(test: ArgumentTest): string {
  const name = `arg${test.index}`;
  if (test.low === test.high) return `${name} = ${number(test.low)}`;
  const parts: string[] = [];
  if (test.mask !== 0n) parts.push(`${name} & ${number(test.mask)} = ${number(test.value)}`);
  if (!boundsFollowFromMask(test)) parts.push(`${name} in ${number(test.low)}…${number(test.high)}`);
  return parts.join(' and ');
}

/** Returns true if the interval adds nothing to the mask. */
export function boundsFollowFromMask(test: ArgumentTest): boolean {
  return test.low === test.value && test.high === ((maxOf(test.width) & ~test.mask) | test.value);
}

function number(value: bigint): string {
  return value < 1000n ? value.toString() : `0x${value.toString(16)}`;
}
