import { witnesses } from '../compare/contains.ts';
import type { Names, Witness } from '../compare/contains.ts';
import type { Profile } from '../profile/model.ts';
import { decisionKey } from '../seccomp/decision.ts';
import { decisionFor, filteredPolicy } from '../seccomp/policy.ts';
import { isSyscallName } from '../seccomp/syscalls.ts';

/** The differences between the grants of two profiles, each with a witness. */
export interface Differences {
  /** Granted by the first, not by the second. */
  readonly onlyFirst: readonly Witness[];
  readonly onlySecond: readonly Witness[];
}

/**
 * Returns the differences between two profiles: every capability and system call, and one witness for each
 * other dimension. Both lists are empty exactly if the profiles are equal.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function differences(
  first: Profile,
  second: Profile,
  names: { readonly first: string; readonly second: string },
): Differences {
  return {
    onlyFirst: excessOf(second, first, { outer: names.second, inner: names.first }),
    onlySecond: excessOf(first, second, { outer: names.first, inner: names.second }),
  };
}

/** Returns everything that `inner` grants and `outer` does not. */
export function excessOf(outer: Profile, inner: Profile, names: Names): Witness[] {
  return witnesses(outer, inner, names).flatMap((witness) => {
    if (witness.dimension === 'capabilities') return eachCapability(outer, inner, names);
    if (witness.dimension === 'syscalls') {
      const each = eachCall(outer, inner, names);
      return each.length === 0 ? [witness] : each;
    }
    return [witness];
  });
}

function eachCapability(outer: Profile, inner: Profile, names: Names): Witness[] {
  const missing = inner.capabilities.filter((name) => !outer.capabilities.includes(name));
  return missing.flatMap((name) =>
    witnesses(
      { ...inner, capabilities: inner.capabilities.filter((other) => other !== name) },
      inner,
      names,
    ).filter(({ dimension }) => dimension === 'capabilities'),
  );
}

/**
 * Creates one question per name whose answers are written differently: the inner policy with the outer
 * policy's answer for this name.
 */
function eachCall(outer: Profile, inner: Profile, names: Names): Witness[] {
  const [a, b] = [outer.syscalls, inner.syscalls];
  if (!a.filtered || !b.filtered) return [];
  const compat = b.compat.filter((name) => !a.compat.includes(name));
  const called = [...new Set([...a.rules.keys(), ...b.rules.keys()])].sort();
  // Names of other architectures alone differ only if these architectures do.
  const reported = compat.length === 0 ? called : called.filter(isSyscallName);
  const differing = reported.filter(
    (name) => decisionKey(decisionFor(a, name)) !== decisionKey(decisionFor(b, name)),
  );
  const variants = [
    ...compat.map((one) =>
      filteredPolicy(
        b.fallback,
        b.rules,
        b.compat.filter((name) => name !== one),
      ),
    ),
    ...differing.map((name) =>
      filteredPolicy(b.fallback, new Map([...b.rules, [name, decisionFor(a, name)]]), b.compat),
    ),
    // Calls that neither profile names.
    ...(a.fallback === b.fallback
      ? []
      : [filteredPolicy(a.fallback, new Map(called.map((name) => [name, decisionFor(b, name)])), b.compat)]),
  ];
  return variants.flatMap((syscalls) => witnesses({ ...inner, syscalls }, inner, names));
}
