import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { decompress } from '../unpack/decompress.ts';
import { createLayerBudget } from '../unpack/layer-budget.ts';
import type { LayerBudget } from '../unpack/layer-budget.ts';
import { layerError, unwritable } from '../unpack/layer-error.ts';
import { dropHiddenWhiteouts, hasOpenQuestions, settle } from '../unpack/settle.ts';
import { createTarReader } from '../unpack/tar-reader.ts';
import type { UnpackRequest } from '../unpack/unpack-layer.ts';
import { checkDiffId, unpackedLimit } from '../unpack/unpack-layer.ts';
import type { WorkClock } from '../unpack/work-clock.ts';
import { headBytes, pageBytes, roundUp } from './format.ts';
import { createLayerFileWriter } from './layer-file.ts';
import type { LayerFileWriter } from './layer-file.ts';
import { writeMetadata } from './metadata.ts';
import { treeForm } from './settle-tree-form.ts';
import { placeSparseFiles } from './sparse-files.ts';
import { asLayerFolder } from './tree.ts';
import { createTreeWriter } from './tree-writer.ts';
import type { TreeWriter } from './tree-writer.ts';

export interface EncodeRequest extends Omit<UnpackRequest, 'staging'> {
  /** The layer file to write. An existing file is replaced. */
  readonly path: string;
}

/** The record that the store keeps of a layer file, and compares before each mount. */
export interface LayerFileRecord {
  readonly diffId: string;
  /** sha256, in hex, of everything in the file that is not the archive. */
  readonly metadataSha256: string;
  /** Length of the file. */
  readonly bytes: number;
  /** The digest, in hex, by which fs-verity knows the file; undefined: it has no fs-verity. */
  readonly verity?: string;
  /** The archive is not written yet: only the bytes after its last page are compared. */
  readonly lazy?: true;
}

export interface EncodedLayer extends LayerFileRecord {
  /** True when the tree depends on the layers below: the layer must then be stored by chain id. */
  readonly dependent: boolean;
  /** Number of inodes in the file. On the disk it is one. */
  readonly inodes: number;
}

/**
 * Writes one layer as one file that Linux mounts: the archive as it is, and EROFS metadata that points into
 * it. Checks the diff id. The same archive over the same layers gives the same bytes. The file is not
 * durable: one syncfs(2) of the caller makes all files of an image durable, before any of them gets its name.
 * @param askLowers returns the roots of the layers below, top-most first: folders, or roots of mounts. Called
 * only for a layer that depends on them, with its number of entries
 * @param clock counts the time of the work, and ends it
 * @param signal ends the work while it waits for bytes
 * @throws the errors of `unpackLayer` for the same archive; nothing is left at `path` then
 */
export async function encodeLayer(
  request: EncodeRequest,
  askLowers: (entries: number) => Promise<readonly string[]>,
  clock: WorkClock,
  signal: AbortSignal,
): Promise<EncodedLayer> {
  const { path } = request;
  const fd = clock.turn(() => createFile(path));
  const file = createLayerFileWriter(fd);
  try {
    return await encodeInto(file, request, askLowers, clock, signal);
  } catch (thrown) {
    rmSync(path, { force: true });
    throw thrown;
  } finally {
    file.release();
    closeSync(fd);
  }
}

/** Creates the file. One that a killed Worker left is removed: it may have any length. */
function createFile(path: string): number {
  try {
    rmSync(path, { force: true });
    return openSync(
      path,
      constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
  } catch (thrown) {
    throw unwritable(thrown, 'layer');
  }
}

async function encodeInto(
  file: LayerFileWriter,
  request: EncodeRequest,
  askLowers: (entries: number) => Promise<readonly string[]>,
  clock: WorkClock,
  signal: AbortSignal,
): Promise<EncodedLayer> {
  const { diffId } = request;
  const budget = createLayerBudget(request.limits, (progress) => {
    clock.goOn(progress);
  });
  const tree = createTreeWriter(budget, file.positionOf);
  const reader = createTarReader(tree);
  const most = unpackedLimit(request);
  let total = 0;
  for await (const chunk of decompress(request.blob, signal)) {
    clock.turn(() => {
      budget.goOn();
      total += chunk.length;
      if (total > most)
        throw layerError('IMAGES_LAYER_TOO_LARGE', diffId, `the layer unpacks to more than ${most} bytes`);
      file.archive(chunk);
      reader.push(chunk);
    });
  }
  const { archive, dependent } = clock.turn(() => {
    reader.finish();
    const { bytes, digest } = file.endArchive();
    checkDiffId(diffId, digest);
    const end = roundUp(headBytes + bytes, pageBytes);
    return { archive: { bytes, digest, end }, dependent: hasOpenQuestions(asLayerFolder(tree.root), budget) };
  });
  const lowers = dependent && !request.lowest ? await askLowers(budget.progress.entries) : [];
  return clock.turn(() => {
    if (dependent) settle(treeForm(tree, file.copies, budget), budget, lowers);
    // Only the tree has to change.
    dropHiddenWhiteouts(asLayerFolder(tree.root), budget, () => undefined);
    placeSparseFiles(tree.root, file, budget);
    return finish(file, tree, archive, dependent, budget);
  });
}

function finish(
  file: LayerFileWriter,
  tree: TreeWriter,
  archive: Parameters<typeof writeMetadata>[2],
  dependent: boolean,
  budget: LayerBudget,
): EncodedLayer {
  const regions = writeMetadata(file, tree.root, archive, budget);
  const metadataSha256 = file.finish(regions);
  return {
    dependent,
    diffId: regions.diffId,
    metadataSha256,
    bytes: regions.fileBytes,
    inodes: regions.inodes,
  };
}
