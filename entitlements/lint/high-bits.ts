import { argumentTest, maxOf, smallestMatch } from '../seccomp/argument-test.ts';
import type { ArgumentTest } from '../seccomp/argument-test.ts';
import { intersectClauses, matches, remaining, witnessOf } from '../seccomp/clause.ts';
import type { Clause } from '../seccomp/clause.ts';
import { constantName } from '../seccomp/constants.ts';
import { decide } from '../seccomp/decision.ts';
import type { Decision } from '../seccomp/decision.ts';
import { rank } from '../seccomp/outcome.ts';
import type { Outcome } from '../seccomp/outcome.ts';
import { argumentWidth } from '../seccomp/syscalls.ts';

/** A call with high bits that gets a looser answer than the same call as the kernel reads it. */
export interface HighBits {
  readonly index: number;
  /** The arguments with a bit set that the kernel does not read, and without it. */
  readonly args: readonly bigint[];
  readonly read: readonly bigint[];
  readonly answer: Outcome;
  readonly meant: Outcome;
}

/**
 * Finds calls that pass a filter which compares all 64 bits, by bits that the kernel drops: an argument whose
 * low bits get the answer `meant` while the argument itself gets a looser one. Exact, one argument at a time.
 * @param of the decision over 64 bits of every argument
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function highBits(call: string, of: Decision): HighBits | undefined {
  for (const index of [0, 1, 2, 3, 4, 5]) {
    const width = argumentWidth(call, index);
    if (width === 64) continue;
    for (const piece of [...of.pieces, { outcome: of.otherwise, when: [] as Clause }]) {
      const found = passed(call, index, of, piece);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

function passed(
  call: string,
  index: number,
  of: Decision,
  piece: { readonly outcome: Outcome; readonly when: Clause },
): HighBits | undefined {
  // Low bits that get at least as loose an answer without the high bits.
  const asLoose = of.pieces
    .filter(({ outcome }) => rank(outcome) >= rank(piece.outcome))
    .flatMap(({ when }) => withoutHigh(when, index));
  if (rank(of.otherwise) >= rank(piece.outcome)) return undefined;
  const own = piece.when.find((test) => test.index === index);
  const rest = piece.when.filter((test) => test.index !== index);
  for (const { test, high } of lowParts(own, index, argumentWidth(call, index))) {
    const low = intersectClauses(rest, [test]);
    const left = low === undefined ? undefined : remaining(low, asLoose);
    if (left === undefined) continue;
    const read = witnessOf(left);
    const args = read.map((value, at) => (at === index ? value | high : value));
    if (!matches(piece.when, args)) continue;
    return { index, args, read, answer: decide(of, args), meant: decide(of, read) };
  }
  return undefined;
}

/** The part of a clause in which the argument has no bits that the kernel drops. */
function withoutHigh(when: Clause, index: number): Clause[] {
  const bound = argumentTest(index, 64, { high: 0xffffffffn });
  const met = bound === undefined ? undefined : intersectClauses(when, [bound]);
  return met === undefined ? [] : [met];
}

/**
 * Returns the low bits of those values of a test that have a high bit set, as tests, each with such high
 * bits.
 */
function lowParts(
  test: ArgumentTest | undefined,
  index: number,
  width: 16 | 32 | 64,
): { readonly test: ArgumentTest; readonly high: bigint }[] {
  const { low, high, mask, value } = test ?? { low: 0n, high: maxOf(64), mask: 0n, value: 0n };
  const shift = BigInt(width);
  const all = maxOf(width);
  const [first, last] = [low >> shift, high >> shift];
  const parts: { test: ArgumentTest; high: bigint }[] = [];
  const add = (top: bigint, from: bigint, to: bigint): void => {
    if (top === 0n || (((top << shift) ^ value) & mask & ~all) !== 0n) return;
    const found = argumentTest(index, 64, {
      low: from,
      high: to,
      mask: mask & all,
      value: value & mask & all,
    });
    if (found !== undefined) parts.push({ test: found, high: top << shift });
  };
  // Between the two ends, every combination of low bits occurs.
  const between = smallestMatch(first + 1n, mask >> shift, (value & mask) >> shift, 64);
  if (between !== undefined && between < last) add(between, 0n, all);
  add(first, low & all, first === last ? high & all : all);
  if (last > first) add(last, 0n, high & all);
  return parts;
}

/** Formats a call for people: `socket(AF_ALG)`, `socket(0x100000026)`. */
export function shownCall(call: string, args: readonly bigint[]): string {
  const last = args.findLastIndex((value) => value !== 0n);
  const texts = args.slice(0, last + 1).map((value, index) => {
    const wide = value > maxOf(argumentWidth(call, index));
    return (
      (wide ? undefined : constantName(call, index, value)) ??
      (value < 1000n ? value.toString() : `0x${value.toString(16)}`)
    );
  });
  return `${call}(${texts.join(', ')})`;
}
