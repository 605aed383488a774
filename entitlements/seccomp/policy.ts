import { always, decisionKey, exceeds, isConstant, joinDecisions, meetDecisions } from './decision.ts';
import type { Decision } from './decision.ts';
import { looser, tighter } from './outcome.ts';
import type { Outcome } from './outcome.ts';

/**
 * Architectures whose programs a kernel can run in addition to its native ones: x86 and x32 on x86_64, arm on
 * aarch64.
 */
export type CompatArchitecture = 'arm' | 'x32' | 'x86';

export const COMPAT_ARCHITECTURES: readonly CompatArchitecture[] = ['arm', 'x32', 'x86'];

/**
 * The answers to system calls. Unfiltered is the top: no filter at all, every call of every architecture.
 * Filtered: the calls of the native architecture and of those under `compat` by name; a call without a rule
 * gets `fallback`; calls of every other architecture are killed.
 */
export type SyscallPolicy = { readonly filtered: false } | FilteredPolicy;

export interface FilteredPolicy {
  readonly filtered: true;
  readonly fallback: Outcome;
  readonly rules: ReadonlyMap<string, Decision>;
  /** Sorted. An architecture that the machine does not have has no effect. */
  readonly compat: readonly CompatArchitecture[];
}

export const UNFILTERED: SyscallPolicy = { filtered: false };

/** Returns a filtered policy in its simplest form: rules sorted by name, none that repeats the fallback. */
export function filteredPolicy(
  fallback: Outcome,
  rules: Iterable<readonly [string, Decision]>,
  compat: readonly CompatArchitecture[] = [],
): FilteredPolicy {
  const useful = [...rules].filter(([, of]) => !isConstant(of) || of.otherwise !== fallback);
  useful.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return { filtered: true, fallback, rules: new Map(useful), compat: [...new Set(compat)].sort() };
}

export function decisionFor(policy: FilteredPolicy, name: string): Decision {
  return policy.rules.get(name) ?? always(policy.fallback);
}

/** Returns the greatest policy that grants no more than either. */
export function meetPolicies(a: SyscallPolicy, b: SyscallPolicy): SyscallPolicy {
  if (!a.filtered || a === b) return b;
  if (!b.filtered) return a;
  const compat = a.compat.filter((name) => b.compat.includes(name));
  return combine(a, b, tighter(a.fallback, b.fallback), meetDecisions, compat);
}

/** Returns the least policy that grants no less than either. */
export function joinPolicies(a: SyscallPolicy, b: SyscallPolicy): SyscallPolicy {
  if (!a.filtered || a === b) return a;
  if (!b.filtered) return b;
  return combine(a, b, looser(a.fallback, b.fallback), joinDecisions, [...a.compat, ...b.compat]);
}

function combine(
  a: FilteredPolicy,
  b: FilteredPolicy,
  fallback: Outcome,
  how: (a: Decision, b: Decision) => Decision,
  compat: readonly CompatArchitecture[],
): FilteredPolicy {
  const names = new Set([...a.rules.keys(), ...b.rules.keys()]);
  return filteredPolicy(
    fallback,
    [...names].map((name) => [name, how(decisionFor(a, name), decisionFor(b, name))] as const),
    compat,
  );
}

/**
 * A call of which `inner` grants more than `outer`. `compat`: every call of that architecture. Otherwise,
 * `name` undefined: any call that neither names; `args` undefined: no filter at all.
 */
export interface SyscallExcess {
  readonly compat?: CompatArchitecture;
  readonly name?: string;
  readonly args?: readonly bigint[];
}

/** Returns where `inner` grants more than `outer`; undefined if nowhere. */
export function policyExcess(outer: SyscallPolicy, inner: SyscallPolicy): SyscallExcess | undefined {
  if (!outer.filtered || outer === inner) return undefined;
  if (!inner.filtered) return {};
  const compat = inner.compat.find((name) => !outer.compat.includes(name));
  if (compat !== undefined) return { compat };
  for (const name of [...new Set([...inner.rules.keys(), ...outer.rules.keys()])].sort()) {
    const args = exceeds(decisionFor(outer, name), decisionFor(inner, name));
    if (args !== undefined) return { name, args };
  }
  const args = exceeds(always(outer.fallback), always(inner.fallback));
  return args === undefined ? undefined : { args };
}

/**
 * Returns a text: equal texts mean equal policies. The names in a seccomp file are any texts, and are quoted,
 * so that none looks like another rule.
 */
export function policyText(policy: SyscallPolicy): string {
  if (!policy.filtered) return 'unfiltered';
  const compat = policy.compat.length === 0 ? [] : [`compat ${policy.compat.join(' ')}`];
  return [
    `fallback ${policy.fallback}`,
    ...compat,
    ...[...policy.rules].map(([name, of]) => `${JSON.stringify(name)}: ${decisionKey(of)}`),
  ].join('\n');
}
