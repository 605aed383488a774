import { intersectClauses, subtract, witnessOf } from './clause.ts';
import type { Clause } from './clause.ts';
import { always, decision } from './decision.ts';
import { mergeAdjacent } from './merge-adjacent.ts';
import { EPERM } from './outcome.ts';
import { COMPAT_ARCHITECTURES, filteredPolicy } from './policy.ts';
import type { SyscallPolicy } from './policy.ts';

/**
 * A set of system calls with arguments: by name, those whose arguments match one of the clauses. Sorted.
 * Every name has a clause.
 */
export type CallSet = ReadonlyMap<string, readonly Clause[]>;

export function callSet(calls: Iterable<readonly [name: string, when: Clause]>): CallSet {
  const byName = new Map<string, Clause[]>();
  for (const [name, when] of calls) {
    const found = byName.get(name);
    if (found === undefined) byName.set(name, [when]);
    else found.push(when);
  }
  return sorted(
    [...byName].map(([name, clauses]) => [name, clauses.length === 1 ? clauses : mergeAdjacent(clauses)]),
  );
}

/** Returns the named calls with any arguments. */
export function wholeCalls(names: Iterable<string>): CallSet {
  return sorted([...new Set(names)].map((name) => [name, WHOLE]));
}

const WHOLE: readonly Clause[] = [[]];

function sorted(entries: (readonly [name: string, clauses: readonly Clause[]])[]): CallSet {
  return new Map(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Returns the calls in any of the sets. */
export function unionCalls(...sets: readonly CallSet[]): CallSet {
  const [first, ...others] = [...new Set(sets)].filter((set) => set.size > 0);
  if (first === undefined) return sets[0] ?? new Map<string, readonly Clause[]>();
  if (others.length === 0) return first;
  const byName = new Map<string, (readonly Clause[])[]>();
  for (const set of [first, ...others]) {
    for (const [name, clauses] of set) {
      const found = byName.get(name);
      if (found === undefined) byName.set(name, [clauses]);
      else found.push(clauses);
    }
  }
  // Merged once: merging after each set would take time quadratic in the number of sets.
  return sorted(
    [...byName].map(([name, lists]) => {
      const one = lists.length === 1 ? lists[0] : lists.find(isWhole);
      return [name, one ?? mergeAdjacent(lists.flat())];
    }),
  );
}

function isWhole(clauses: readonly Clause[]): boolean {
  return clauses.some((when) => when.length === 0);
}

/** Returns the calls of `from` that are not in `remove`. @throws ENTITLEMENTS_TOO_COMPLEX */
export function withoutCalls(from: CallSet, remove: CallSet): CallSet {
  if (remove.size === 0) return from;
  const left: (readonly [string, readonly Clause[]])[] = [];
  for (const [name, clauses] of from) {
    const gone = remove.get(name);
    if (gone === undefined) left.push([name, clauses]);
    else if (!isWhole(gone)) {
      const rest = subtract(clauses, gone);
      if (rest.length > 0) left.push([name, mergeAdjacent(rest)]);
    }
  }
  return new Map(left);
}

/** Returns a call in both, with arguments; undefined if there is none. */
export function commonCall(
  a: CallSet,
  b: CallSet,
): { readonly call: string; readonly args: readonly bigint[]; readonly when: Clause } | undefined {
  for (const [call, clauses] of a) {
    for (const one of clauses) {
      for (const other of b.get(call) ?? []) {
        const when = intersectClauses(one, other);
        if (when !== undefined) return { call, args: witnessOf(when), when };
      }
    }
  }
  return undefined;
}

/** Returns the policy that allows these calls and answers EPERM to any other. */
export function policyAllowing(calls: CallSet): SyscallPolicy {
  return filteredPolicy(
    EPERM,
    [...calls].map(([name, clauses]) => [
      name,
      isWhole(clauses)
        ? always('allow')
        : decision(
            EPERM,
            clauses.map((when) => ({ outcome: 'allow', when })),
          ),
    ]),
  );
}

/**
 * Returns the policy that answers EPERM to these calls and allows any other. @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function policyWithout(calls: CallSet): SyscallPolicy {
  return filteredPolicy(
    'allow',
    [...calls].map(([name, clauses]) => {
      const left = isWhole(clauses) ? [] : subtract(WHOLE, clauses);
      return [
        name,
        left.length === 0
          ? always(EPERM)
          : decision(
              EPERM,
              left.map((when) => ({ outcome: 'allow', when })),
            ),
      ];
    }),
    COMPAT_ARCHITECTURES,
  );
}
