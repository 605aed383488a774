import { closeSync, mkdirSync, rmSync } from 'node:fs';
import { unwritable } from '../unpack/layer-error.ts';
import type { UnpackRequest, UnpackedLayer } from '../unpack/unpack-layer.ts';
import type { WorkClock } from '../unpack/work-clock.ts';
import { checkArchive, checkLayerFile, openLayerFile } from './check-layer.ts';
import { encodeLayer } from './encode-layer.ts';
import type { LayerFileRecord } from './encode-layer.ts';
import { layerFileName } from './layer-folder.ts';
import { protectFile } from './protect-file.ts';

/** The folder and the file. */
const inodesOnDisk = 2;

/** The record that the store keeps of a layer in one file. */
export interface StoredLayerRecord {
  readonly diffId: string;
  /** sha256, in hex, of everything in the file that is not the archive. */
  readonly manifestSha256: string;
  /** Length of the file. */
  readonly bytes: number;
  /** The digest, in hex, by which fs-verity knows the file; undefined: it has no fs-verity. */
  readonly verity?: string;
  /** The archive is not written yet. */
  readonly lazy?: true;
}

/**
 * Writes a layer as one file into a fresh folder, and protects the file by fs-verity if its file system
 * supports it. Has the parameters and the result of `unpackLayer`, and throws the errors of {@link
 * encodeLayer}.
 */
export async function storeLayer(
  { staging, ...request }: UnpackRequest,
  askLowers: (entries: number) => Promise<readonly string[]>,
  clock: WorkClock,
  signal: AbortSignal,
): Promise<UnpackedLayer> {
  clock.turn(() => {
    makeFolder(staging);
  });
  const path = `${staging}/${layerFileName}`;
  const { dependent, metadataSha256, bytes } = await encodeLayer(
    { ...request, path },
    askLowers,
    clock,
    signal,
  );
  const verity = clock.turn(() => protectFile(path));
  const layer = { dependent, manifestSha256: metadataSha256, bytes, inodes: inodesOnDisk };
  return verity === undefined ? layer : { ...layer, verity };
}

/**
 * Checks the metadata of an open layer file, and that fs-verity protects the recorded content.
 * @throws IMAGES_STORE_FAILED
 */
export function checkStoredLayer(fd: number, path: string, record: StoredLayerRecord): void {
  checkLayerFile(fd, path, fileRecord(record));
}

/**
 * Checks all bytes of a layer in a folder. Reads all of it.
 * @throws IMAGES_STORE_FAILED when a byte differs from what was recorded
 */
export function verifyStoredLayer(folder: string, record: StoredLayerRecord): void {
  const path = `${folder}/${layerFileName}`;
  using opened = new DisposableStack();
  const fd = opened.adopt(openLayerFile(path, fileRecord(record)), closeSync);
  checkArchive(fd, path, record);
}

function fileRecord({ manifestSha256, ...record }: StoredLayerRecord): LayerFileRecord {
  return { ...record, metadataSha256: manifestSha256 };
}

function makeFolder(path: string): void {
  try {
    // A Worker that was ended during this layer may have left it.
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (thrown) {
    throw unwritable(thrown, 'layer');
  }
}
