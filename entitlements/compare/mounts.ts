import { findPath, newBudget, tooComplex } from '../files/automaton.ts';
import { meetPatterns } from '../files/meet-patterns.ts';
import { patternOf } from '../files/pattern-of.ts';
import type { MountRule } from '../profile/model.ts';

/** Absent: any mount. */
type Mounts = readonly MountRule[] | undefined;

const MAX_RULES = 1024;

/** Returns what both allow. @throws ENTITLEMENTS_TOO_COMPLEX */
export function meetMounts(a: Mounts, b: Mounts): Mounts {
  if (a === undefined || b === undefined) return a ?? b;
  if (a === b) return a;
  const budget = newBudget();
  return mountRules(
    a.flatMap((one) =>
      b.flatMap((other) => {
        if (one.fstype !== other.fstype && one.fstype !== '*' && other.fstype !== '*') return [];
        const fstype = one.fstype === '*' ? other.fstype : one.fstype;
        return meetPatterns(one.target, other.target, budget).map((target) => ({
          fstype,
          target,
          readonly: one.readonly || other.readonly,
        }));
      }),
    ),
  );
}

/** Returns what either allows. @throws ENTITLEMENTS_TOO_COMPLEX */
export function joinMounts(a: Mounts, b: Mounts): Mounts {
  if (a === undefined || b === undefined) return undefined;
  return a === b ? a : mountRules([...a, ...b]);
}

function mountRules(rules: readonly MountRule[]): MountRule[] {
  const distinct = [...new Map(rules.map((rule) => [keyOf(rule), rule])).values()];
  if (distinct.length > MAX_RULES) throw tooComplex('combine mount rules');
  // Another rule with the same target that allows more.
  const covered = (rule: MountRule): boolean =>
    distinct.some(
      (other) =>
        other !== rule &&
        other.target === rule.target &&
        (other.fstype === '*' || other.fstype === rule.fstype) &&
        (!other.readonly || rule.readonly),
    );
  return distinct.filter((rule) => !covered(rule)).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

function keyOf({ fstype, target, readonly }: MountRule): string {
  return `${fstype} ${readonly ? 'ro' : 'rw'} ${target}`;
}

/** A mount that `inner` allows and `outer` does not. */
export interface MountExcess {
  /** `*`: a type that neither names. */
  readonly fstype: string;
  readonly target: string;
  readonly readonly: boolean;
}

/** @throws ENTITLEMENTS_TOO_COMPLEX */
export function mountExcess(outer: Mounts, inner: Mounts): MountExcess | undefined {
  if (outer === undefined || outer === inner) return undefined;
  const granted = inner ?? [{ fstype: '*', target: '/**', readonly: false }];
  const budget = newBudget();
  const types = [...new Set([...granted, ...outer].map(({ fstype }) => fstype)), '*'];
  for (const fstype of types) {
    for (const readonly of [false, true]) {
      const covers = (rule: MountRule): boolean =>
        (rule.fstype === '*' || rule.fstype === fstype) && (!rule.readonly || readonly);
      const tagged = [granted, outer].flatMap((rules, tag) =>
        rules.filter(covers).map(({ target }) => ({ pattern: patternOf(target), tag })),
      );
      const target = findPath(tagged, (matched) => matched(0) && !matched(1), budget);
      if (target !== undefined) return { fstype, target, readonly };
    }
  }
  return undefined;
}
