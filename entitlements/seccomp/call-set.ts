import { intersectClauses, subtract, witnessOf } from './clause.ts';
import type { Clause } from './clause.ts';
import { always, decision } from './decision.ts';
import { mergeAdjacent } from './merge-adjacent.ts';
import { EPERM } from './outcome.ts';
import { COMPAT_ARCHITECTURES, filteredPolicy } from './policy.ts';
import type { SyscallPolicy } from './policy.ts';

/** A set of system calls with arguments: by name, those whose arguments match one of the clauses. Sorted; no name without a clause. */
export type CallSet = ReadonlyMap<string, readonly Clause[]>;

export function callSet(calls: Iterable<readonly [name: string, when: Clause]>): CallSet {
  const byName = new Map<string, Clause[]>();
  for (const [name, when] of calls) byName.set(name, [...(byName.get(name) ?? []), when]);
  return simplified(byName);
}

/** The named calls, whatever their arguments. */
export function wholeCalls(names: Iterable<string>): CallSet {
  return callSet([...names].map((name) => [name, []] as const));
}

function simplified(byName: ReadonlyMap<string, readonly Clause[]>): CallSet {
  const kept = [...byName].flatMap(([name, clauses]) => (clauses.length === 0 ? [] : [[name, mergeAdjacent(clauses)] as const]));
  return new Map(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Calls in either. */
export function unionCalls(...sets: readonly CallSet[]): CallSet {
  const [first] = sets;
  if (first !== undefined && sets.every((set) => set === first || set.size === 0)) return first;
  return callSet(sets.flatMap((set) => [...set].flatMap(([name, clauses]) => clauses.map((when) => [name, when] as const))));
}

/** Calls of `from` that are not in `remove`. @throws ENTITLEMENTS_TOO_COMPLEX */
export function withoutCalls(from: CallSet, remove: CallSet): CallSet {
  if (remove.size === 0) return from;
  return simplified(new Map([...from].map(([name, clauses]) => [name, subtract(clauses, remove.get(name) ?? [])])));
}

/** A call in both, with arguments; undefined when there is none. */
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

/** The policy that allows these calls and answers EPERM to any other. */
export function policyAllowing(calls: CallSet): SyscallPolicy {
  return filteredPolicy(
    EPERM,
    [...calls].map(([name, clauses]) => [
      name,
      decision(
        EPERM,
        clauses.map((when) => ({ outcome: 'allow', when })),
      ),
    ]),
  );
}

/** The policy that answers EPERM to these calls and allows any other. @throws ENTITLEMENTS_TOO_COMPLEX */
export function policyWithout(calls: CallSet): SyscallPolicy {
  return filteredPolicy(
    'allow',
    [...calls].map(([name, clauses]) => {
      const left = subtract([[]], clauses);
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
