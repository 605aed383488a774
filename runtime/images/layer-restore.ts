import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { meansGone, reasonOf } from '../../base/errors/index.ts';
import { chainIds } from './chain-ids.ts';
import type { LayerClaim } from './claimed-layers.ts';
import { hexOf } from './folders.ts';
import type { LayerRoots } from './layer-roots.ts';
import type { LayerStore } from './layers.ts';
import { provesDamage } from './limits/failures.ts';
import type { ImageLimits } from './limits/limits.ts';
import { publish } from './publish.ts';
import type { PublishDeps } from './publish.ts';
import type { ImageRecords } from './records.ts';
import type { LayerRow, StoredImage } from './stored-image.ts';
import type { Trash } from './trash.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';

/** Dependencies of the restoring of layers. */
export interface LayerRestoreDeps extends PublishDeps {
  readonly records: ImageRecords;
  readonly layers: Pick<LayerStore, 'claimFolder' | 'lose' | 'withdraw' | 'withdrawing'>;
  readonly pool: LayerPool;
  readonly trash: Trash;
  readonly roots: Pick<LayerRoots, 'use' | 'isUsable'>;
  /** The layers whose files could not be removed, by folder, with the digests of their blobs. */
  readonly leftovers: Map<string, string>;
  readonly limits: ImageLimits;
  /** Resolves when each of these layers is known to be whole. */
  readonly ensure: (folders: readonly string[]) => Promise<void>;
}

/** The blob of a layer is missing, or was read and does not contain the recorded files. */
class BlobLost extends Error {}

/** Whether a failed {@link restoreLayer} proves that no later attempt can succeed. */
export const isBlobLost = (thrown: unknown): boolean => thrown instanceof BlobLost;

/**
 * Unpacks a damaged layer again from its blob, and puts it in place of the damaged one.
 * @throws when this fails; see {@link isBlobLost}
 */
export async function restoreLayer(deps: LayerRestoreDeps, row: LayerRow): Promise<void> {
  const lowers = row.dependent ? await claimLowers(deps, row) : [];
  try {
    await unpackAgain(deps, row, lowers);
  } finally {
    await Promise.all(lowers.map((lower) => lower.release()));
  }
}

/**
 * Claims the layers below a dependent layer, top-most first, once they are whole. Without a claim, the
 * removal of the image would delete them while the layer is unpacked on them.
 */
async function claimLowers(
  { records, layers, ensure }: LayerRestoreDeps,
  row: LayerRow,
): Promise<readonly LayerClaim[]> {
  for (;;) {
    // The layers below are older than the layer: no check waits for itself.
    await ensure(lowersOf(records.list(), row));
    const claims = lowersOf(records.list(), row).map((folder) => layers.claimFolder(folder));
    const claimed = claims.filter((claim) => claim !== undefined);
    if (claimed.length === claims.length) return claimed;
    await Promise.all(claimed.map((claim) => claim.release()));
    const removal = layers.withdrawing();
    if (removal === undefined) throw new BlobLost('a layer below it is not recorded');
    await removal;
  }
}

async function unpackAgain(
  deps: LayerRestoreDeps,
  row: LayerRow,
  lowers: readonly LayerClaim[],
): Promise<void> {
  const { folders, records, pool, roots } = deps;
  const begun = deps.sync.era();
  const staging = `${folders.staging}/${row.folder}.${randomUUID()}`;
  const request = {
    blob: `${folders.blobs}/${hexOf(row.blobDigest)}`,
    staging,
    diffId: row.diffId,
    lowest: row.dependent ? lowers.length === 0 : lowersOf(records.list(), row).length === 0,
    limits: deps.limits,
  };
  try {
    const form = roots.isUsable(row) ? row.form : 'folder';
    const below = lowers.map((lower) => lower.row().folder);
    const unpacked = await roots.use(below, (paths) =>
      pool
        .unpack(request, () => Promise.resolve(paths), { form })
        .catch(async (thrown: unknown) => {
          const isLost = meansGone(thrown) ? await isMissing(request.blob) : provesDamage(thrown);
          throw isLost
            ? new BlobLost(`its blob cannot be used: ${reasonOf(thrown)}`, { cause: thrown })
            : thrown;
        }),
    );
    if (form === row.form && unpacked.manifestSha256 !== row.manifestSha256)
      throw new BlobLost('its blob no longer contains the recorded files');
    const move = { kind: 'rename', from: staging, to: `${folders.layers}/${row.folder}` } as const;
    await publish(deps, [{ pendingMove: () => move, published: () => undefined, begun }]);
    // After a kill in between, the layer is found to be in another form than its record, and is restored
    // again. The same happens if the support of fs-verity by the file system has changed.
    const { manifestSha256, bytes, inodes, verity } = unpacked;
    if (form !== row.form || verity !== row.verity) {
      const { verity: _before, ...others } = row;
      const isProtected = verity !== undefined && { verity };
      await records.replaceLayer({ ...others, form, manifestSha256, bytes, inodes, ...isProtected });
    }
  } catch (thrown) {
    await deps.trash.discard(staging);
    throw thrown;
  }
}

const isMissing = (path: string): Promise<boolean> => stat(path).then(() => false, meansGone);

/**
 * Removes the images that need the layer together with it; a kubelet pulls them again. A pull that has a
 * claim on the layer fails, and no pull gets a claim meanwhile.
 */
export function loseLayer(
  deps: Pick<LayerRestoreDeps, 'records' | 'places' | 'leftovers' | 'log'> & {
    readonly layers: Pick<LayerStore, 'lose' | 'withdraw'>;
  },
  row: LayerRow,
  why: string,
): Promise<void> {
  return deps.layers.withdraw([row.folder], () => removeLost(deps, row, why));
}

async function removeLost(
  { records, places, layers, leftovers, log }: Parameters<typeof loseLayer>[0],
  row: LayerRow,
  why: string,
): Promise<void> {
  layers.lose(row.folder);
  // An image whose record is being written is removed too.
  await records.settled();
  for (const image of records.list()) {
    if (!image.layers.some((layer) => layer.folder === row.folder)) continue;
    log.error(
      { image: image.id, names: image.names.map(({ name }) => name), layer: row.folder, why },
      'an image was removed because it lost a layer: pull it again',
    );
    await records.removeImage(image.id);
  }
  await records.removeLayers([row.folder]);
  // The sweep that follows removes its blob.
  leftovers.set(row.folder, row.blobDigest);
  await places.vacate(row.folder);
}

/**
 * Returns the layer folders below, top-most first, as listed by an image that has the layer. They are the
 * same in all images that have a dependent layer.
 */
function lowersOf(images: readonly StoredImage[], row: LayerRow): readonly string[] {
  for (const image of images) {
    const at = image.layers.findIndex((layer) => layer.folder === row.folder);
    if (at < 0) continue;
    const position = chainIds(image.layers.map((layer) => layer.diffId))[at];
    if (row.dependent && hexOf(position?.chainId ?? '') !== row.folder) continue;
    return image.layers
      .slice(0, at)
      .map((layer) => layer.folder)
      .reverse();
  }
  return [];
}
