import { entitlementsError } from '../errors.ts';
import { complementTest, formatTest, intersectTests, isAny, passes, testWithin } from './argument-test.ts';
import type { ArgumentTest } from './argument-test.ts';

/** A conjunction: the calls whose arguments pass every test. One test an argument at most, sorted by index; no test: every call. */
export type Clause = readonly ArgumentTest[];

/** Six 64-bit argument registers. */
export type Arguments = readonly bigint[];

/** More clauses than this for one system call is refused, not approximated. */
const MAX_CLAUSES = 1024;

/** Comparisons of two clauses that one question may take: a bound on time, about a tenth of a second. */
const MAX_STEPS = 100_000;

export function clause(tests: readonly ArgumentTest[]): Clause {
  return tests.filter((test) => !isAny(test)).sort((a, b) => a.index - b.index);
}

export function matches(when: Clause, args: Arguments): boolean {
  return when.every((test) => passes(test, args[test.index] ?? 0n));
}

/** The calls in both, or undefined when there is none. */
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

/** `from` without `remove`, as disjoint clauses. */
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
 * The calls of `from` in none of `remove`, exactly, as clauses.
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
 * Some calls of `from` in none of `remove`, as a clause; undefined when there are none. Depth first, so that a difference is found
 * without working out all of them.
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

/** Some call of the clause: its smallest arguments. */
export function witnessOf(when: Clause): bigint[] {
  const args = [0n, 0n, 0n, 0n, 0n, 0n];
  for (const test of when) args[test.index] = test.low;
  return args;
}

export function formatClause(when: Clause): string {
  return when.length === 0 ? 'any arguments' : when.map(formatTest).join(' and ');
}

/** Equal keys are equal clauses. */
export function clauseKey(when: Clause): string {
  return when.map((test) => `${test.index}/${test.width}:${test.low}-${test.high}&${test.mask}=${test.value}`).join(',');
}
