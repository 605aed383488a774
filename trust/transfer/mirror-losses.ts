import { orAbsent } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import type { Dossier } from '../findings/types.ts';

/** Where a piece of evidence was found, as a dossier records it. */
export interface FoundEvidence {
  readonly attachedTo: string;
  /** `referrers`, `fallback-tag sha256-…` or `tag sha256-….sig`. */
  readonly foundBy: string;
  /** Digest of its manifest. */
  readonly manifest: string;
}

/** A mirror that serves an image without evidence that a later place has. */
export interface MirrorLoss {
  readonly mirror: string;
  /** How many pieces of evidence only later places have. */
  readonly lacking: number;
}

/**
 * Returns the mirrors that were asked and lack evidence that was found at a later place. Pure.
 * @param hosts the places in the order in which they were asked, the registry itself last
 */
export function mirrorLosses(
  { items, unreachable }: Dossier,
  hosts: readonly string[],
): readonly MirrorLoss[] {
  return hosts.flatMap((mirror, at) => {
    // A mirror that did not answer did not lose anything.
    if (unreachable.some(({ source }) => source.startsWith(`${mirror}/`))) return [];
    const later = hosts.slice(at + 1);
    const lacking = items.filter(({ servedBy }) => later.includes(servedBy)).length;
    return lacking === 0 ? [] : [{ mirror, lacking }];
  });
}

/**
 * Asks a mirror for evidence that is known of an image, in the way in which it was found.
 * @returns what the mirror lacks. Evidence that is in no repository, and tags where the mirror is not asked
 * for tags, do not count. Nor does what a listing that is not complete does not show
 * @throws PortcullisError of base/distribution when the mirror does not answer
 */
export async function lackingAtMirror(
  mirror: RegistryRepository,
  evidence: readonly FoundEvidence[],
  signal: AbortSignal,
): Promise<readonly FoundEvidence[]> {
  type Listing = Awaited<ReturnType<RegistryRepository['referrers']>>;
  const listings = new Map<string, Promise<Listing>>();
  const listed = (digest: string): Promise<Listing> => {
    const known = listings.get(digest) ?? mirror.referrers(digest, { signal });
    listings.set(digest, known);
    return known;
  };
  const lacking: FoundEvidence[] = [];
  for (const one of evidence) {
    const tag = /^tag (\S+)$/u.exec(one.foundBy)?.[1];
    const isReferrer = one.foundBy === 'referrers' || one.foundBy.startsWith('fallback-tag ');
    if (tag !== undefined) {
      if (mirror.answersTags && (await orAbsent(mirror.manifest(tag, signal))) === undefined)
        lacking.push(one);
    } else if (isReferrer) {
      const { descriptors, complete } = await listed(one.attachedTo);
      if (complete && !descriptors.some(({ digest }) => digest === one.manifest)) lacking.push(one);
    }
  }
  return lacking;
}
