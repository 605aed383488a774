import { entitlementsError } from '../errors.ts';
import { complementTest, formatTest, intersectTests, isAny, passes, testWithin } from './argument-test.ts';
import type { ArgumentTest } from './argument-test.ts';

/**
 * A conjunction: the calls whose arguments pass every test. At most one test per argument, sorted by index.
 * Without tests: every call.
 */
export type Clause = readonly ArgumentTest[];

/** Six 64-bit argument registers. */
export type Arguments = readonly bigint[];

/** More clauses for one system call are refused, not approximated. */
const MAX_CLAUSES = 1024;

/**
 * The maximum number of comparisons of two clauses in one question: it limits the time to about a tenth of a
 * second.
 */
const MAX_STEPS = 100_000;

export function clause(tests: readonly ArgumentTest[]): Clause {
  return tests.filter((test) => !isAny(test)).sort((a, b) => a.index - b.index);
}

export function matches(when: Clause, args: Arguments): boolean {
  return when.every((test) => passes(test, args[test.index] ?? 0n));
}

/** Returns the calls in both, or undefined if there are none. */
export function intersectClauses(a: Clause, b: Clause): Clause | undefined {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const tests = new Map(a.map((test) => [test.index, test]));
  for (const test of b) {
    const other = tests.get(test.index);
    const both = other === undefined ? test : intersectTests(other, test);
    if (both === undefined) return undefined;
    tests.set(test.index, both);
  }
  return clause([...tests.values()]);
}

export function clauseWithin(inner: Clause, outer: Clause): boolean {
  return outer.every((test) => {
    const own = inner.find((candidate) => candidate.index === test.index);
    return own !== undefined && testWithin(own, test);
  });
}

/** Returns `from` without `remove`, as disjoint clauses. */
export function subtractClause(from: Clause, remove: Clause): Clause[] {
  if (intersectClauses(from, remove) === undefined) return [from];
  const left: Clause[] = [];
  let rest: Clause = from;
  for (const test of remove) {
    for (const outside of complementTest(test)) {
      const piece = intersectClauses(rest, [outside]);
      if (piece !== undefined) left.push(piece);
    }
    const inside = intersectClauses(rest, [test]);
    if (inside === undefined) return left;
    rest = inside;
  }
  return left;
}

/**
 * Returns the calls of `from` in none of `remove`, exactly, as clauses.
 * @throws ENTITLEMENTS_TOO_COMPLEX above 1024 clauses or 100,000 steps
 */
export function subtract(from: readonly Clause[], remove: readonly Clause[]): Clause[] {
  let left = [...from];
  let steps = 0;
  for (const part of remove) {
    steps += left.length;
    if (steps > MAX_STEPS) throw tooComplex();
    left = left.flatMap((piece) => subtractClause(piece, part));
    if (left.length > MAX_CLAUSES) throw tooComplex();
  }
  return left;
}

/**
 * Returns some calls of `from` in none of `remove`, as a clause; undefined if there are none. The search is
 * depth first, so that it finds a difference without computing all of them.
 * @throws ENTITLEMENTS_TOO_COMPLEX after 100,000 steps
 */
export function remaining(from: Clause, remove: readonly Clause[]): Clause | undefined {
  let steps = 0;
  const search = (piece: Clause, at: number): Clause | undefined => {
    for (let next = at; next < remove.length; next++) {
      if (++steps > MAX_STEPS) throw tooComplex();
      const part = remove[next];
      if (part === undefined || intersectClauses(piece, part) === undefined) continue;
      for (const rest of subtractClause(piece, part)) {
        const found = search(rest, next + 1);
        if (found !== undefined) return found;
      }
      return undefined;
    }
    return piece;
  };
  return search(from, 0);
}

/** @throws ENTITLEMENTS_TOO_COMPLEX above 1024 clauses */
export function limitClauses(count: number): void {
  if (count > MAX_CLAUSES) throw tooComplex();
}

function tooComplex(): Error {
  return entitlementsError('ENTITLEMENTS_TOO_COMPLEX', {
    kind: 'exhausted',
    attempted: 'combine system call conditions',
    on: '',
    why: 'the conditions on one system call divide into too many cases',
    fix: 'use fewer or simpler argument conditions',
  });
}

/** Returns one call of the clause: its smallest arguments. */
export function witnessOf(when: Clause): bigint[] {
  const args = [0n, 0n, 0n, 0n, 0n, 0n];
  for (const test of when) args[test.index] = test.low;
  return args;
}

export function formatClause(when: Clause): string {
  return when.length === 0 ? 'any arguments' : when.map(formatTest).join(' and ');
}

/** Returns a key: equal keys mean equal clauses. */
export function clauseKey(when: Clause): string {
  return when
    .map((test) => `${test.index}/${test.width}:${test.low}-${test.high}&${test.mask}=${test.value}`)
    .join(',');
}
