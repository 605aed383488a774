import { createHash } from 'node:crypto';
import { isPortcullisError } from '../../base/errors/index.ts';
import { meet } from '../compare/lattice.ts';
import { readAttestedProfile } from '../document/attested.ts';
import { PUBLISHER } from './bound.ts';
import type { Ceiling } from './bound.ts';

interface Statement {
  readonly profile: unknown;
  readonly attestation: string;
}

/**
 * The last answers, by the statements. A publisher may sign a profile that takes seconds to read, and each
 * container of the image asks for it.
 */
const remembered = new Map<string, { readonly ceiling: Ceiling | undefined } | { readonly error: unknown }>();
const MOST_REMEMBERED = 32;

/**
 * Returns the publisher's signed statement of what an image needs, as a limit. For several statements, the
 * limit is what all of them grant.
 * @returns undefined if nothing was signed
 * @throws ENTITLEMENTS_BAD_PROFILE, ENTITLEMENTS_TOO_COMPLEX
 */
export function publisherCeiling(statements: readonly Statement[]): Ceiling | undefined {
  if (statements.length === 0) return undefined;
  const named = statements.map(({ profile, attestation }) => [attestation, profile]);
  const key = createHash('sha256').update(JSON.stringify(named)).digest('hex');
  const known = remembered.get(key) ?? answer(statements);
  // The map keeps the order of use.
  remembered.delete(key);
  remembered.set(key, known);
  const [oldest] = remembered.keys();
  if (remembered.size > MOST_REMEMBERED && oldest !== undefined) remembered.delete(oldest);
  if ('error' in known) throw known.error;
  return known.ceiling;
}

function answer(
  statements: readonly Statement[],
): { readonly ceiling: Ceiling | undefined } | { readonly error: unknown } {
  try {
    const [first, ...rest] = statements.map(({ profile, attestation }) =>
      readAttestedProfile(profile, attestation),
    );
    const ceiling = first && { name: PUBLISHER, profile: rest.reduce(meet, first) };
    return { ceiling };
  } catch (error) {
    // Any other error may have a cause that goes away.
    if (!isPortcullisError(error)) throw error;
    return { error };
  }
}
