import { verifyForAuthority } from '../cosign/authority.ts';
import type { AuthorityResult } from '../sigstore/authority-result.ts';
import type { AttestationRequirement } from '../requirements/types.ts';
import type { Envelope } from './envelope.ts';

/**
 * Returns which signer of an authority signed an envelope and when, or why the envelope does not count. One
 * of several signatures must count. Pure.
 */
export function verifyEnvelope(
  { signatures }: Envelope,
  by: AttestationRequirement['by'],
  now: Date,
): AuthorityResult {
  let result: AuthorityResult = { code: 'TRUST_SIGNATURE_MALFORMED', problem: 'it has no signature' };
  for (const signature of signatures) {
    result = verifyForAuthority(signature, undefined, by, now);
    if ('proven' in result) break;
  }
  return result;
}
