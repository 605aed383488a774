import type { TrustPolicy } from '../../trust/index.ts';
import { certificateValidity } from '../../trust/x509/index.ts';
import { certificateGroups, leaves, rootOf } from './requirements.ts';

/** A root or a group of certificates that a rule depends on, and when it ends (ISO 8601). */
export interface PolicyRoot {
  readonly name: string;
  readonly rule: string;
  readonly ends: string;
}

/**
 * Returns the roots and certificates that a policy depends on, with their ends. A group of certificates ends
 * with the last of them. Roots without an end are left out. Pure.
 */
export function policyRoots(policy: Pick<TrustPolicy, 'rules'>): readonly PolicyRoot[] {
  const found = known.get(policy) ?? rootsOf(policy);
  known.set(policy, found);
  return found;
}

/** A policy never changes. Certificates are parsed once for each. */
const known = new WeakMap<object, readonly PolicyRoot[]>();

function rootsOf({ rules }: Pick<TrustPolicy, 'rules'>): readonly PolicyRoot[] {
  return rules.flatMap(({ name: rule, require }) =>
    (require === undefined ? [] : leaves(require)).flatMap((part) => {
      const root = rootOf(part);
      const groups = certificateGroups(part).flatMap(({ name, certificates }) => {
        const ends = certificates.flatMap(
          (der) => certificateValidity(Buffer.from(der, 'base64'))?.notAfter ?? [],
        );
        const last = ends.reduce((a, b) => Math.max(a, b), -Infinity);
        return Number.isFinite(last) ? [{ name, rule, ends: new Date(last).toISOString() }] : [];
      });
      const end = Date.parse(root?.expires ?? '');
      return root === undefined || Number.isNaN(end)
        ? groups
        : [...groups, { name: root.name, rule, ends: new Date(end).toISOString() }];
    }),
  );
}
