import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { untilDone } from '../state/retry-until-done.ts';
import type { BlobStore } from './blobs.ts';
import type { StoreFolders } from './folders.ts';
import type { LayerPlaces } from './layer-folders.ts';
import type { LayerRoots } from './layer-roots.ts';
import type { LazyLayers } from './lazy-layers.ts';
import type { LayerStore } from './layers.ts';
import type { ImageRecords } from './records.ts';
import type { RootfsStore } from './rootfs.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import type { SerialQueue } from '../../base/queues/index.ts';
import type { LayerRow } from './stored-image.ts';
import type { Trash } from './trash.ts';

export interface SweepDeps {
  readonly folders: StoreFolders;
  readonly records: ImageRecords;
  readonly layers: LayerStore;
  readonly blobs: BlobStore;
  readonly rootfs: RootfsStore;
  readonly places: LayerPlaces;
  readonly roots: Pick<LayerRoots, 'forget'>;
  readonly trash: Trash;
  readonly lazy: Pick<LazyLayers, 'tidy'>;
  readonly publishing: SerialQueue;
  /** The layers whose files could not be removed, by folder, with the digests of their blobs. */
  readonly leftovers: Map<string, string>;
}

/**
 * Removes the layers that no image, container or pull needs, and their blobs. The row is removed first: a
 * folder without a row is never used. One call at a time.
 */
export async function sweepLayers(deps: SweepDeps): Promise<void> {
  const { records, layers, rootfs, places, leftovers } = deps;
  await places.tidy();
  if (leftovers.size > 0) await removeLeftovers(deps);
  const orphans = [...records.layers()].filter(
    ({ folder }) => !records.isLayerOwned(folder) && !rootfs.uses(folder) && !layers.isClaimed(folder),
  );
  await tidyLazy(deps);
  if (orphans.length === 0) return;
  const names = orphans.map(({ folder }) => folder);
  // In the event loop turn that found them: a pull that arrives while the rows are being removed must not
  // claim these layers.
  await layers.withdraw(names, async () => {
    await records.removeLayers(names);
    for (const { folder, blobDigest } of orphans) leftovers.set(folder, blobDigest);
    await removeEach(orphans, (orphan) => removeFiles(deps, orphan));
  });
  await tidyLazy(deps);
}

/** Lets the filler forget the layers that are gone, or complete. */
async function tidyLazy({ lazy, records, layers }: SweepDeps): Promise<void> {
  await lazy.tidy((folder) => records.layer(folder)?.lazy === true || layers.isClaimed(folder));
}

/**
 * Tries again to remove the files of layers whose rows are gone. The place of such a layer may belong to
 * another layer by now, but not to a layer that is being published.
 */
async function removeLeftovers(deps: SweepDeps): Promise<void> {
  const { records, layers, rootfs, leftovers, publishing } = deps;
  const left = [...leftovers].map(([folder, blobDigest]) => ({ folder, blobDigest }));
  await publishing(() =>
    removeEach(left, async (one) => {
      if (records.layer(one.folder) !== undefined || layers.isClaimed(one.folder) || rootfs.uses(one.folder))
        leftovers.delete(one.folder);
      else await removeFiles(deps, one);
    }),
  );
}

async function removeFiles(
  { folders, trash, blobs, roots, leftovers }: SweepDeps,
  { folder, blobDigest }: Pick<LayerRow, 'folder' | 'blobDigest'>,
): Promise<void> {
  roots.forget(folder);
  await trash.discard(`${folders.layers}/${folder}`);
  await blobs.dropUnowned(blobDigest);
  leftovers.delete(folder);
}

/** A failed removal does not prevent the others. @throws the first failure, at the end */
async function removeEach<T>(all: readonly T[], remove: (one: T) => Promise<void>): Promise<void> {
  const failures: unknown[] = [];
  for (const one of all) await remove(one).catch((thrown: unknown) => failures.push(thrown));
  if (failures.length > 0) throw failures[0];
}

/**
 * Runs sweeps. A failed sweep leaves content that no client can remove, because its image is gone. So the
 * sweep is repeated until it succeeds, or the store is closed.
 */
export interface Sweeper {
  /** Sweeps once; fails with the reason of a failed sweep, which is then repeated in the background. */
  sweep(): Promise<void>;
  /** Whether a failed sweep is being repeated. */
  isDue(): boolean;
}

/** @param deps.sweep one sweep; called only when the previous sweep has ended */
export function createSweeper(deps: {
  readonly sweep: () => Promise<void>;
  readonly isClosed: () => boolean;
  readonly log: Pick<Logger, 'warn'>;
}): Sweeper {
  const sweeping = createSerialQueue();
  const sweepOnce = (): Promise<void> => sweeping(deps.sweep);
  let isDue = false;

  async function sweepLater(): Promise<void> {
    isDue = true;
    await untilDone({
      act: sweepOnce,
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref()),
      isOver: deps.isClosed,
      failed: (error, attempt) => {
        if (attempt === 1)
          deps.log.warn(
            { error: reasonOf(error) },
            'layers without an owner could not be removed; the removal is repeated until it succeeds',
          );
      },
    });
    isDue = false;
  }

  return {
    async sweep() {
      try {
        await sweepOnce();
      } catch (cause) {
        if (!isDue) void sweepLater();
        throw cause;
      }
    },
    isDue: () => isDue,
  };
}
