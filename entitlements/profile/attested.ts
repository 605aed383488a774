import { formatProblems } from '../../base/schema/index.ts';
import { entitlementsError } from '../errors.ts';
import { checkProfiles } from './check.ts';
import type { Profile } from './model.ts';

/**
 * Reads the document of kind EntitlementProfile that a publisher has signed. One that this version can not read whole is refused:
 * what it would have taken away would not be. Its parents can only be built-in profiles.
 * @param origin the attestation that carried it, for the failure
 * @throws ENTITLEMENTS_BAD_PROFILE with every problem, in `details.problems` too
 */
export function readAttestedProfile(document: unknown, origin: string): Profile {
  // Written out, so that a problem has a place in what a reader can print too.
  const { profiles, incomplete, problems } = checkProfiles([{ file: origin, text: JSON.stringify(document ?? null, null, 2) }]);
  const [found] = profiles;
  if (found !== undefined && profiles.length === 1 && problems.length === 0) return found.profile;
  const missing = [...incomplete].map(([name, names]) => `${name} needs a value for ${names.join(', ')}`);
  const reasons = problems.length > 0 ? formatProblems(problems) : (missing[0] ?? 'it is no document of kind EntitlementProfile');
  throw entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'denied',
    attempted: 'read entitlements that the publisher signed',
    on: origin,
    why: `${Math.max(1, problems.length)} problem${problems.length > 1 ? 's' : ''}:\n${reasons}\n`,
    fix: 'the publisher must sign a profile that this version can read: portcullis entitlements check FILE',
    details: { problems },
  });
}
