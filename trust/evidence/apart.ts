import { parseJson } from '../../base/json/index.ts';
import type { Dossier } from '../types.ts';

/** Bytes that many dossiers share, such as metadata of a service with thousands of targets: their digest, and they as items hold them. */
export interface EvidencePart {
  readonly digest: string;
  readonly bytes: string;
}

/** What of a dossier is stored apart from it. */
export function partsOf({ items }: Dossier): readonly EvidencePart[] {
  return items.flatMap(({ apart, blobDigest, bytes }) => (apart === true && bytes !== undefined ? [{ digest: blobDigest, bytes }] : []));
}

/** The dossier without them: its id is the same. */
export function withoutParts(dossier: Dossier): Dossier {
  if (!dossier.items.some(({ apart }) => apart === true)) return dossier;
  const items = dossier.items.map((item) => {
    if (item.apart !== true) return item;
    const { bytes: _bytes, ...rest } = item;
    return rest;
  });
  return { ...dossier, items };
}

/** The digests of what a dossier lacks until it is decided from. */
export function lackingParts({ items }: Dossier): readonly string[] {
  return items.flatMap(({ apart, blobDigest, bytes }) => (apart === true && bytes === undefined ? [blobDigest] : []));
}

/** The same of a dossier's stored text; of one that can not be read, nothing. */
export function partsNamed(text: string): readonly string[] {
  try {
    return lackingParts(parseJson(text) as Dossier);
  } catch {
    return [];
  }
}

/** The dossier with the parts that are there. What is not there stays away, and counts as that. */
export function withParts(dossier: Dossier, read: (digest: string) => string | undefined): Dossier {
  if (lackingParts(dossier).length === 0) return dossier;
  const items = dossier.items.map((item) => {
    const bytes = item.apart === true && item.bytes === undefined ? read(item.blobDigest) : undefined;
    return bytes === undefined ? item : { ...item, bytes };
  });
  return { ...dossier, items };
}
