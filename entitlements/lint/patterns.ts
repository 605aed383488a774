import { findPath, newBudget } from '../files/automaton.ts';
import type { Matched } from '../files/automaton.ts';
import { patternOf } from '../files/pattern-of.ts';

/** Compares patterns of paths in pairs. */
export interface PatternPairs {
  /** Returns true if every path of `inner` is one of `outer`. @throws ENTITLEMENTS_TOO_COMPLEX */
  readonly within: (inner: string, outer: string) => boolean;
  /** Returns a path of both patterns. @throws ENTITLEMENTS_TOO_COMPLEX */
  readonly overlap: (a: string, b: string) => string | undefined;
}

/** Returns comparisons that together may take the steps of one question: lists make many pairs. */
export function patternPairs(): PatternPairs {
  const budget = newBudget();
  const find = (a: string, b: string, wanted: (is: Matched) => boolean): string | undefined => {
    const tagged = [
      { pattern: patternOf(a), tag: 0 },
      { pattern: patternOf(b), tag: 1 },
    ];
    return findPath(tagged, wanted, budget);
  };
  return {
    within: (inner, outer) =>
      inner === outer || (mayMeet(inner, outer) && find(inner, outer, (is) => is(0) && !is(1)) === undefined),
    overlap: (a, b) => (mayMeet(a, b) ? find(a, b, (is) => is(0) && is(1)) : undefined),
  };
}

/** Returns false if no path is one of both, because they begin with different characters. */
function mayMeet(a: string, b: string): boolean {
  const [one, other] = [beginning(a), beginning(b)];
  return one.startsWith(other) || other.startsWith(one);
}

/** Returns the characters before the first one with a meaning of its own. */
function beginning(pattern: string): string {
  return /^[^*?[{\\]*/.exec(pattern)?.[0] ?? '';
}
