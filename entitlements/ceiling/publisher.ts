import { meet } from '../compare/lattice.ts';
import { readAttestedProfile } from '../document/attested.ts';
import { PUBLISHER } from './bound.ts';
import type { Ceiling } from './bound.ts';

/**
 * Returns the publisher's signed statement of what an image needs, as a limit. For several statements, the
 * limit is what all of them grant.
 * @returns undefined if nothing was signed
 * @throws ENTITLEMENTS_BAD_PROFILE, ENTITLEMENTS_TOO_COMPLEX
 */
export function publisherCeiling(
  statements: readonly { readonly profile: unknown; readonly attestation: string }[],
): Ceiling | undefined {
  const [first, ...rest] = statements.map(({ profile, attestation }) =>
    readAttestedProfile(profile, attestation),
  );
  return first === undefined ? undefined : { name: PUBLISHER, profile: rest.reduce(meet, first) };
}
