import { entitlementsError } from '../errors.ts';
import type { Profile } from '../profile/model.ts';

/** The dimensions that are lists of rules, and restrict nothing when absent. */
const RULES = ['egress', 'files', 'ingress', 'mounts'] as const;
type Rules = Pick<Profile, (typeof RULES)[number]>;

/** Rules of one side only, or the same on both. @throws ENTITLEMENTS_UNSUPPORTED for two different lists */
export function meetRules(a: Profile, b: Profile): Rules {
  return collect((name) => (a[name] === undefined || b[name] === undefined ? (a[name] ?? b[name]) : same(name, a, b)));
}

/** Rules only where both have them. @throws ENTITLEMENTS_UNSUPPORTED for two different lists */
export function joinRules(a: Profile, b: Profile): Rules {
  return collect((name) => (a[name] === undefined || b[name] === undefined ? undefined : same(name, a, b)));
}

/** A dimension in which `outer` has rules and `inner` has none. @throws ENTITLEMENTS_UNSUPPORTED for two different lists */
export function ruleExcess(outer: Profile, inner: Profile): keyof Rules | undefined {
  return RULES.find((name) => outer[name] !== undefined && (inner[name] === undefined || same(name, outer, inner) === undefined));
}

function same(name: keyof Rules, a: Profile, b: Profile): unknown {
  if (JSON.stringify(a[name]) === JSON.stringify(b[name])) return a[name];
  throw entitlementsError('ENTITLEMENTS_UNSUPPORTED', {
    kind: 'precondition',
    attempted: `compare ${name} rules`,
    on: '',
    why: 'this version compares only equal ones',
    fix: 'give both profiles the same rules',
  });
}

function collect(of: (name: keyof Rules) => unknown): Rules {
  return Object.fromEntries(
    RULES.flatMap((name) => {
      const rules = of(name);
      return rules === undefined ? [] : [[name, rules]];
    }),
  );
}
