import { stat } from 'node:fs/promises';
import { createSerialQueue } from '../../base/queues/index.ts';
import type { StoreFolders } from './folders.ts';
import type { ImageRecords } from './records.ts';

/**
 * The space and inodes that the images use on the disk: layers with the lists of their files, and compressed
 * blobs.
 */
export interface StoreUsage {
  readonly usedBytes: number;
  readonly inodesUsed: number;
}

const diskBlock = 4096;

/**
 * Returns the function that sums what the recorded layers use. Walks no folders: the records contain the
 * sizes of the files. The size of a list of files never changes, and is read once.
 */
export function createStoreUsage(
  folders: Pick<StoreFolders, 'layers'>,
  records: Pick<ImageRecords, 'layers'>,
): () => Promise<StoreUsage> {
  let known = new Map<string, number>();
  // One at a time: on a disk that hangs, further calls would occupy all threads of the process.
  const inTurn = createSerialQueue();

  const measure = async (): Promise<StoreUsage> => {
    const rows = [...records.layers()];
    const lists = new Map<string, number>();
    for (const { folder, manifestSha256 } of rows.filter(({ form }) => form === 'folder')) {
      const path = `${folders.layers}/${folder}/files.ndjson`;
      const key = `${folder} ${manifestSha256}`;
      const size = known.get(key) ?? (await sizeOf(path));
      if (size !== undefined) lists.set(key, size);
    }
    known = lists;
    let usedBytes = 0;
    let inodesUsed = 0;
    for (const { form, bytes, inodes } of rows) {
      // The folder of the layer, and the list of its files. The record of a layer file counts its folder.
      usedBytes += Math.ceil(bytes / diskBlock) * diskBlock + diskBlock;
      inodesUsed += form === 'folder' ? inodes + 2 : inodes;
    }
    // A blob that several layers share counts once.
    const blobs = new Map(rows.map(({ blobDigest, blobSize }) => [blobDigest, blobSize]));
    for (const size of [...lists.values(), ...blobs.values()])
      usedBytes += Math.ceil(size / diskBlock) * diskBlock;
    return { usedBytes, inodesUsed: inodesUsed + blobs.size };
  };
  return () => inTurn(measure);
}

/**
 * Undefined: the layer was removed in this moment, or the disk cannot read its list. The sum is then a little
 * too small. Without any answer, a kubelet could neither remove images nor evict pods.
 */
async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ size }) => size,
    () => undefined,
  );
}
