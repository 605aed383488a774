import type { RegistryRepository } from '../../base/distribution/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { Standing } from '../tuf-author/collection.ts';
import { isNewer, readPublished } from '../tuf-author/publish.ts';
import { defaultTufTag, ociSource } from '../tuf-client/oci-source.ts';
import { defaultLimits } from '../tuf-client/source.ts';
import type { TufSource } from '../tuf-client/source.ts';

/**
 * Why a repository keeps its own signed metadata when an image is copied to it. `newer`: it has a later state
 * of the same collection, and its readers would refuse the older one as a rollback. `other`: what the source
 * has is not signed for the collection of the repository, and its readers would refuse it, too.
 */
export type MetadataKept = 'newer' | 'other';

/**
 * Returns why a repository must keep its metadata, or undefined when metadata of this source may replace it.
 * @throws the errors of sources that do not answer
 */
export async function keptMetadata(
  source: TufSource,
  to: RegistryRepository,
): Promise<MetadataKept | undefined> {
  const own = ociSource([to], defaultTufTag);
  const root = await own.fetch('1.root.json', defaultLimits.rootBytes);
  const present = root === undefined ? undefined : await verified(own, root);
  // There is nothing that anybody could read.
  if (root === undefined || present === undefined) return undefined;
  const wanted = await verified(source, root);
  if (wanted === undefined) return 'other';
  return isNewer('tuf', present, wanted) ? 'newer' : undefined;
}

/** Returns the metadata of a source if this root leads to it. */
async function verified(source: TufSource, root: Buffer): Promise<Standing | undefined> {
  try {
    return (await readPublished('tuf', source, new Map([['root', root]])))?.standing;
  } catch (error) {
    if (isPortcullisError(error) && (error.kind === 'unavailable' || error.kind === 'deadline')) throw error;
    return undefined;
  }
}

/** Returns how a command reports this, or an empty text. */
export function metadataKeptText(kept: MetadataKept | undefined): string {
  if (kept === undefined) return '';
  return kept === 'newer'
    ? ', signed metadata of the destination kept: it is newer'
    : ', signed metadata of the destination kept: it belongs to another collection';
}
