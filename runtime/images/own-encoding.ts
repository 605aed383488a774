import { randomUUID } from 'node:crypto';
import { lazyBlobName } from './folders.ts';
import type { LayerRestoreDeps } from './layer-restore.ts';
import { imageError } from './limits/failures.ts';
import type { LayerRow } from './stored-image.ts';
import type { UnpackedLayer } from './unpack/unpack-layer.ts';

/** The file of a layer as this node writes it, in a folder below `staging`. */
export interface OwnEncoding extends UnpackedLayer {
  readonly staging: string;
}

/**
 * Writes the file of a complete layer again, from its blob. The names, owners and modes in a filled file come
 * from the publisher of one image, who signed them. Other images may have the same layer, and their policies
 * may not trust that publisher: they get only the metadata of the archive.
 * @param isFilled whether the file contains what its record says
 * @returns undefined when the filled file is identical
 * @throws the errors of an unpacking; IMAGES_BAD_CHUNK_INDEX when the layer depends on those below it
 */
export async function encodeAgain(
  deps: Pick<LayerRestoreDeps, 'folders' | 'limits' | 'pool' | 'records' | 'trash'>,
  row: LayerRow,
  isFilled: boolean,
): Promise<OwnEncoding | undefined> {
  const { folders, limits, pool, records, trash } = deps;
  const staging = `${folders.staging}/${row.folder}.${randomUUID()}`;
  const isLowest = records.list().some(({ layers }) => layers[0]?.folder === row.folder);
  const request = {
    blob: `${folders.layers}/${row.folder}/${lazyBlobName}`,
    ...{ staging, diffId: row.diffId, lowest: isLowest, limits },
  };
  try {
    const unpacked = await pool.unpack(request, () => Promise.reject(dependent(row)), { form: 'erofs' });
    if (unpacked.dependent !== row.dependent) throw dependent(row);
    if (!isFilled || unpacked.manifestSha256 !== row.manifestSha256) return { ...unpacked, staging };
    await trash.discard(staging);
    return undefined;
  } catch (thrown) {
    await trash.discard(staging);
    throw thrown;
  }
}

function dependent({ folder }: LayerRow): Error {
  return imageError({
    code: 'IMAGES_BAD_CHUNK_INDEX',
    kind: 'data-loss',
    attempted: 'compare complete layer with its chunk index',
    on: folder,
    why: 'the layer depends on the layers below it, which contradicts its index',
    fix: 'make the index again with portcullis attest --type chunk-index',
  });
}
