import { constants } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import type { RegistryRepository } from '../../../base/distribution/index.ts';
import { layerFileName } from '../erofs/layer-folder.ts';
import { headBytes, pageBytes, roundUp } from '../erofs/format.ts';
import { wrapImageError } from '../limits/failures.ts';
import type { UnpackedLayer } from '../unpack/unpack-layer.ts';
import { chunksSha256 } from './chunk-index.ts';
import type { LayerChunks } from './chunk-index.ts';
import { writeAll } from './write-all.ts';

/** The folder and the file. */
const inodesOnDisk = 2;

/** A layer whose file has holes, and the digest of the chunks that fill them. */
export interface StagedLayer extends UnpackedLayer {
  readonly chunksSha256: string;
}

/** Checks the metadata of an open layer file, as before each mount. @throws IMAGES_STORE_FAILED */
export type CheckLayer = (
  fd: number,
  path: string,
  record: {
    readonly form: 'erofs';
    readonly diffId: string;
    readonly manifestSha256: string;
    readonly bytes: number;
  },
) => Promise<void>;

/**
 * Creates the folder of a layer whose file has everything except the archive: the head, and the bytes
 * after the archive. The archive is a hole. The file need not be on the disk: a file with holes is lost
 * with the power in any case, and the filler makes the complete file durable.
 * @param staging path of the folder, which does not exist
 * @throws IMAGES_DISK_FULL, the errors of the registry, and those of the check of the metadata
 */
export async function stageLayer(
  staging: string,
  layer: LayerChunks,
  fetch: (blob: LayerChunks['metadata'], signal: AbortSignal) => ReturnType<RegistryRepository['blob']>,
  check: CheckLayer,
  signal: AbortSignal,
): Promise<StagedLayer> {
  const path = `${staging}/${layerFileName}`;
  const { diffId, fileBytes, metadataSha256 } = layer;
  try {
    await mkdir(staging, { mode: 0o700 });
    await using file = await open(
      path,
      constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
    await file.truncate(fileBytes);
    await writeMetadata(file, layer, await fetch(layer.metadata, signal));
    await check(file.fd, path, { form: 'erofs', diffId, manifestSha256: metadataSha256, bytes: fileBytes });
  } catch (thrown) {
    signal.throwIfAborted();
    throw wrapImageError(thrown, {
      code: 'IMAGES_LAYER_UNWRITABLE',
      kind: 'internal',
      attempted: 'begin the file of layer',
      on: diffId,
      fix: 'see the reason, then pull again',
    });
  }
  return {
    dependent: layer.dependent,
    manifestSha256: metadataSha256,
    bytes: fileBytes,
    inodes: inodesOnDisk,
    chunksSha256: chunksSha256(layer),
  };
}

/** Writes the first page to the start of the file, and the rest after the archive. */
async function writeMetadata(
  file: FileHandle,
  { archiveBytes }: Pick<LayerChunks, 'archiveBytes'>,
  parts: AsyncIterable<Uint8Array>,
): Promise<void> {
  const behind = roundUp(headBytes + archiveBytes, pageBytes);
  let seen = 0;
  for await (const part of parts) {
    const ofHead = Math.max(0, Math.min(part.length, headBytes - seen));
    if (ofHead > 0) await writeAll(file, part.subarray(0, ofHead), seen);
    if (ofHead < part.length) await writeAll(file, part.subarray(ofHead), behind + seen + ofHead - headBytes);
    seen += part.length;
  }
}
