import type { Database } from '../../base/storage/index.ts';
import { isObject, parseObject } from './manifest/json.ts';

/**
 * The keys by which CRI-O and containerd know an image that holds a checkpoint (checkpointctl,
 * lib/annotations.go; CRI-O, pkg/annotations).
 */
const checkpointKey = /^(?:org\.criu\.checkpoint|io\.kubernetes\.cri-o\.annotations\.checkpoint)\./;

/**
 * Whether the annotations of a manifest or an index say that the image holds a checkpoint.
 * @param on names the image in errors
 * @throws IMAGES_BAD_MANIFEST
 */
export function saysCheckpoint(documents: readonly Uint8Array[], on: string): boolean {
  return (
    documents
      .map((bytes) => parseObject(bytes, 'IMAGES_BAD_MANIFEST', on))
      // Backends in Go read names of fields in any case.
      .flatMap((document) => Object.entries(document).filter(([name]) => /^annotations$/i.test(name)))
      .flatMap(([, value]) => (isObject(value) ? Object.keys(value) : []))
      .some((key) => checkpointKey.test(key))
  );
}

/** Whether a recorded image holds a checkpoint, according to its documents. */
export async function holdsCheckpoint(database: Pick<Database, 'all'>, imageId: string): Promise<boolean> {
  const rows = await database.all<{ bytes: Uint8Array }>(
    'SELECT bytes FROM image_document WHERE image_id = ? AND digest <> ?',
    [imageId, imageId],
  );
  return saysCheckpoint(
    rows.map(({ bytes }) => bytes),
    imageId,
  );
}
