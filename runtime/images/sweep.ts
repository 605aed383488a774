import type { BlobStore } from './blobs.ts';
import type { StoreFolders } from './folders.ts';
import type { LayerPlaces } from './layer-places.ts';
import type { LayerStore } from './layers.ts';
import type { ImageRecords } from './records.ts';
import type { RootfsStore } from './rootfs.ts';
import type { Trash } from './trash.ts';

export interface SweepParts {
  readonly folders: StoreFolders;
  readonly records: ImageRecords;
  readonly layers: LayerStore;
  readonly blobs: BlobStore;
  readonly rootfs: RootfsStore;
  readonly places: LayerPlaces;
  readonly trash: Trash;
}

/**
 * Removes the layers that no image, container or pull needs, and their blobs. The row is removed first: a
 * folder without a row is never used. One call at a time.
 */
export async function sweepLayers(parts: SweepParts): Promise<void> {
  const { records, layers, blobs, rootfs, trash, folders, places } = parts;
  await places.tidy();
  const orphans = [...records.layers()].filter(
    ({ folder }) => !records.isLayerOwned(folder) && !rootfs.uses(folder) && !layers.isClaimed(folder),
  );
  if (orphans.length === 0) return;
  const names = orphans.map(({ folder }) => folder);
  // In the event loop turn that found them: a pull that arrives while the rows are being removed must not
  // claim these layers.
  await layers.withdraw(names, async () => {
    await records.removeLayers(names);
    for (const { folder, blobDigest } of orphans) {
      await trash.discard(`${folders.layers}/${folder}`);
      await blobs.dropUnowned(blobDigest);
    }
  });
}
