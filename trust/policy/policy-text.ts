import { isDeepStrictEqual } from 'node:util';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { canonicalJson, sha256Digest } from '../json/canonical-json.ts';
import type { TrustPolicy } from '../requirements/types.ts';

/** A policy as it is stored: everything that `decide` reads from it. */
export interface PolicyText {
  readonly digest: string;
  readonly json: string;
}

const policyTexts = new WeakMap<TrustPolicy, PolicyText>();

/**
 * Returns the policy as canonical JSON with its digest; computed once for each loaded policy.
 * @throws PortcullisError `TRUST_POLICY_NOT_PORTABLE` when a replay would read back a different policy; such
 * a policy must not decide
 */
export function policyText(policy: TrustPolicy): PolicyText {
  const known = policyTexts.get(policy);
  if (known !== undefined) return known;
  const json = canonicalJson(policy);
  // Undefined properties do not count as a difference. A Buffer, a Map or a function does.
  if (!isDeepStrictEqual(parseJson(json), withoutUndefined(policy))) {
    throw new PortcullisError({
      code: 'TRUST_POLICY_NOT_PORTABLE',
      kind: 'internal',
      attempted: 'record policy',
      on: policy.revision,
      why: 'it contains values that JSON cannot represent, so its verdicts could not be replayed',
      fix: 'report this as a defect of the program',
    });
  }
  const text = { digest: sha256Digest(json), json };
  policyTexts.set(policy, text);
  return text;
}

function withoutUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUndefined);
  if (value === null || typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype)
    return value;
  const entries = Object.entries(value).filter(([, part]) => part !== undefined);
  return Object.fromEntries(entries.map(([key, part]) => [key, withoutUndefined(part)]));
}
