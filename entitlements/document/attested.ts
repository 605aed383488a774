import { formatProblems } from '../../base/schema/index.ts';
import { entitlementsError } from '../errors.ts';
import { checkProfiles } from './check.ts';
import type { Profile } from '../profile/model.ts';

/**
 * Reads an EntitlementProfile document that a publisher has signed. It refuses a document that this version
 * cannot read completely, because a restriction in the unread part would be lost. Its parents can only be
 * built-in profiles.
 * @param origin the attestation that contained it, for the failure
 * @throws ENTITLEMENTS_BAD_PROFILE with every problem, also in `details.problems`
 */
export function readAttestedProfile(document: unknown, origin: string): Profile {
  // The document is written as text, so that a problem has a position in a text that can be shown to the
  // reader.
  const { profiles, incomplete, problems } = checkProfiles([
    { file: origin, text: JSON.stringify(document ?? null, null, 2) },
  ]);
  const [found] = profiles;
  if (found !== undefined && profiles.length === 1 && problems.length === 0) return found.profile;
  const missing = [...incomplete].map(([name, names]) => `${name} needs a value for ${names.join(', ')}`);
  const reasons =
    problems.length > 0
      ? formatProblems(problems)
      : (missing[0] ?? 'it is not a document of kind EntitlementProfile');
  throw entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'denied',
    attempted: 'read entitlements that the publisher signed',
    on: origin,
    why: `${Math.max(1, problems.length)} problem${problems.length > 1 ? 's' : ''}:\n${reasons}\n`,
    fix: 'ask the publisher to sign a profile that this version can read: portcullis entitlements check FILE',
    details: { problems },
  });
}
