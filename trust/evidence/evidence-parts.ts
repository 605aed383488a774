import { attempt } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { Dossier } from '../findings/types.ts';

/**
 * Bytes that many dossiers share, such as metadata of a service with thousands of targets: their digest, and
 * the bytes as items hold them.
 */
export interface EvidencePart {
  readonly digest: string;
  readonly bytes: string;
}

/** Returns the parts of a dossier that are stored apart from it. */
export function partsOf({ items }: Dossier): readonly EvidencePart[] {
  return items.flatMap(({ apart, blobDigest, bytes }) =>
    apart === true && bytes !== undefined ? [{ digest: blobDigest, bytes }] : [],
  );
}

/** Returns the dossier without these parts. Its id stays the same. */
export function withoutParts(dossier: Dossier): Dossier {
  if (!dossier.items.some(({ apart }) => apart === true)) return dossier;
  const items = dossier.items.map((item) => {
    if (item.apart !== true) return item;
    const { bytes: _bytes, ...rest } = item;
    return rest;
  });
  return { ...dossier, items };
}

/** Returns the digests of the parts that a dossier needs before a decision. */
export function lackingParts({ items }: Dossier): readonly string[] {
  return items.flatMap(({ apart, blobDigest, bytes }) =>
    apart === true && bytes === undefined ? [blobDigest] : [],
  );
}

/** Returns the same digests from a dossier's stored text, and none from a text that cannot be read. */
export function partsNamed(text: string): readonly string[] {
  return attempt(() => lackingParts(parseJson(text) as Dossier)) ?? [];
}

/**
 * Returns the dossier with the parts that are available. A part that is not available stays absent and counts
 * as absent.
 */
export function withParts(dossier: Dossier, read: (digest: string) => string | undefined): Dossier {
  if (lackingParts(dossier).length === 0) return dossier;
  const items = dossier.items.map((item) => {
    const bytes = item.apart === true && item.bytes === undefined ? read(item.blobDigest) : undefined;
    return bytes === undefined ? item : { ...item, bytes };
  });
  return { ...dossier, items };
}
