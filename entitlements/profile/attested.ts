import { formatProblems, parseDocuments, validate } from '../../base/schema/index.ts';
import { entitlementsError } from '../errors.ts';
import { readProfile } from './document.ts';
import type { Profile } from './model.ts';
import { profileSchema } from './schema.ts';

/**
 * Reads the document of kind EntitlementProfile that a publisher has signed. One that this version can not read whole is refused:
 * what it would have taken away would not be.
 * @param origin the attestation that carried it, for the failure
 * @throws ENTITLEMENTS_BAD_PROFILE with every problem, in `details.problems` too
 */
export function readAttestedProfile(document: unknown, origin: string): Profile {
  // Written out, so that a problem has a place in what a reader can print too.
  const { documents, problems: unreadable } = parseDocuments(JSON.stringify(document ?? null, null, 2), origin);
  const [first] = documents;
  const shape = first === undefined ? unreadable : [...unreadable, ...validate(first, profileSchema)];
  const { found, problems } = first === undefined || shape.length > 0 ? { found: undefined, problems: shape } : readProfile(first);
  if (found !== undefined && problems.length === 0) return found.profile;
  throw entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'denied',
    attempted: 'read entitlements that the publisher signed',
    on: origin,
    why: `${problems.length} problem${problems.length === 1 ? '' : 's'}:\n${formatProblems(problems)}\n`,
    fix: 'the publisher must sign a profile that this version can read: portcullis entitlements check FILE',
    details: { problems },
  });
}
