import { canonicalDigest } from '../json/canonical-json.ts';
import type { Dossier } from '../findings/types.ts';

/** Returns the digest of everything in a dossier except its time and id: equal evidence has an equal id. */
export function dossierId(dossier: Omit<Dossier, 'id'>): string {
  const { version, reference, digest, manifestDigest, unreachable } = dossier;
  // Content that is kept apart is identified by its digest, whether its bytes are available or not.
  const items = dossier.items.map((item) => (item.apart === true ? { ...item, bytes: undefined } : item));
  return canonicalDigest({ version, reference, digest, manifestDigest, items, unreachable });
}

/**
 * Completes a dossier with its id. Also valid for content that came without a registry: no items, no
 * unreachable sources.
 */
export function sealDossier(parts: Omit<Dossier, 'id' | 'version'>): Dossier {
  const unsealed = { version: 1, ...parts } as const;
  return { ...unsealed, id: dossierId(unsealed) };
}
