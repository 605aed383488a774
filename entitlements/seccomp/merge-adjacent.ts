import { clause, clauseKey, clauseWithin } from './clause.ts';
import type { Clause } from './clause.ts';
import { argumentTest } from './argument-test.ts';

/**
 * In larger sets, a clause that is contained in another stays: it costs instructions, but the search would
 * take time quadratic in their number.
 */
const MAX_COMPARED = 128;

/**
 * Returns the same set of calls in fewer clauses: contained ones dropped, touching intervals of one argument
 * joined. The result is sorted.
 */
export function mergeAdjacent(clauses: readonly Clause[]): Clause[] {
  let current = distinct(clauses);
  if (current.length > 1) {
    for (const index of [0, 1, 2, 3, 4, 5]) current = mergeBy(current, index);
    if (current.length <= MAX_COMPARED) current = withoutContained(current);
  }
  return current
    .map((when) => ({ when, key: clauseKey(when) }))
    .sort((a, b) => compareText(a.key, b.key))
    .map(({ when }) => when);
}

/** Removes one clause at a time: of two equivalent clauses, one stays. */
function withoutContained(clauses: readonly Clause[]): Clause[] {
  const kept = new Set(clauses);
  for (const when of clauses)
    if ([...kept].some((other) => other !== when && clauseWithin(when, other))) kept.delete(when);
  return [...kept];
}

function distinct(clauses: readonly Clause[]): Clause[] {
  return [...new Map(clauses.map((when) => [clauseKey(when), when])).values()];
}

/** Joins clauses that differ only in the interval of one argument. */
function mergeBy(clauses: readonly Clause[], index: number): Clause[] {
  const groups = new Map<string, Clause[]>();
  for (const when of clauses) {
    const test = when.find((candidate) => candidate.index === index);
    const rest = clauseKey(when.filter((candidate) => candidate.index !== index));
    const key = test === undefined || test.mask !== 0n ? `alone ${clauseKey(when)}` : rest;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [when]);
    else group.push(when);
  }
  return distinct(
    [...groups.values()].flatMap((group) => (group.length === 1 ? group : joinIntervals(group, index))),
  );
}

function joinIntervals(group: readonly Clause[], index: number): Clause[] {
  const rest = (group[0] ?? []).filter((candidate) => candidate.index !== index);
  const tests = group
    .flatMap((when) => when.filter((candidate) => candidate.index === index))
    .sort((a, b) => (a.low < b.low ? -1 : a.low > b.low ? 1 : 0));
  const merged: { width: 16 | 32 | 64; low: bigint; high: bigint }[] = [];
  for (const test of tests) {
    const last = merged.at(-1);
    if (last !== undefined && test.low <= last.high + 1n)
      last.high = test.high > last.high ? test.high : last.high;
    else merged.push({ width: test.width, low: test.low, high: test.high });
  }
  return merged.flatMap(({ width, low, high }) => {
    const test = argumentTest(index, width, { low, high });
    return test === undefined ? [] : [clause([...rest, test])];
  });
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
