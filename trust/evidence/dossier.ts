import { canonicalDigest } from '../canonical-json.ts';
import type { Dossier } from '../types.ts';

/** The digest of everything in a dossier but its time and id: equal evidence, equal id. */
export function dossierId(dossier: Omit<Dossier, 'id'>): string {
  const { version, reference, digest, manifestDigest, unreachable } = dossier;
  // What is kept apart is known by its digest, whether its bytes are at hand or not.
  const items = dossier.items.map((item) => (item.apart === true ? { ...item, bytes: undefined } : item));
  return canonicalDigest({ version, reference, digest, manifestDigest, items, unreachable });
}

/** Completes a dossier with its id. Also for content that came without a registry: no items, nothing unreachable. */
export function sealDossier(parts: Omit<Dossier, 'id' | 'version'>): Dossier {
  const unsealed = { version: 1, ...parts } as const;
  return { ...unsealed, id: dossierId(unsealed) };
}
