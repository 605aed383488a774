import { randomUUID } from 'node:crypto';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { chainIds } from './chain-ids.ts';
import type { LayerClaim } from './claimed-layers.ts';
import { errnoOf, imageError } from './failures.ts';
import { hexOf } from './folders.ts';
import type { LayerStore } from './layers.ts';
import type { ImageLimits } from './limits.ts';
import { publish } from './publish.ts';
import type { PublishParts } from './publish.ts';
import type { ImageRecords, LayerRow, StoredImage } from './records.ts';
import type { Trash } from './trash.ts';
import type { UnpackPool } from './unpack/unpack-pool.ts';

/**
 * Compares layers that an unclean stop may have damaged with their file lists before they are used, and
 * restores them from their blobs.
 */
export interface LayerChecks {
  /** Whether all of these layers may be used as they are. */
  isChecked(folders: readonly string[]): boolean;
  /**
   * Resolves when each of these layers is known to be whole, was restored, or was removed together with its
   * images.
   * @throws IMAGES_LAYER_UNCHECKED when a layer can neither be compared nor restored now: it stays unchecked
   */
  ensure(folders: readonly string[]): Promise<void>;
  /** Marks a layer folder as unchecked, because something is wrong with it. */
  doubt(folder: string): void;
  /** Checks all layers, one after another. A check that fails is logged and left to the first use. */
  all(): Promise<void>;
  /** Returns the layers that are still unchecked. */
  unchecked(): Iterable<string>;
  /** Starts no more checks, and waits for those in progress. */
  close(): Promise<void>;
}

export interface LayerCheckParts extends PublishParts {
  readonly records: ImageRecords;
  readonly layers: Pick<LayerStore, 'claimFolder' | 'withdrawing'>;
  readonly pool: UnpackPool;
  readonly trash: Trash;
  readonly limits: ImageLimits;
  /** Removes layers and blobs without an owner. */
  readonly sweep: () => Promise<void>;
}

/** @param found layer folders that may be damaged */
export function createLayerChecks(parts: LayerCheckParts, found: Iterable<string>): LayerChecks {
  const { records, layers, pool, folders, log } = parts;
  const unchecked = new Set(found);
  const underWay = new Map<string, Promise<void>>();
  let closed = false;

  async function check(folder: string): Promise<void> {
    // A row whose removal fails is present again.
    for (let removal = layers.withdrawing(); removal !== undefined; removal = layers.withdrawing()) await removal;
    // Held until the end: meanwhile no sweep removes the layer, and no other layer gets its place.
    const claim = layers.claimFolder(folder);
    try {
      if (claim !== undefined) await look(claim.row());
      unchecked.delete(folder);
    } catch (thrown) {
      throw uncheckedError(folder, thrown);
    } finally {
      await claim?.release();
    }
    // The layer was lost, or its image was removed while this check held it.
    if (!records.isLayerOwned(folder)) await parts.sweep();
  }

  async function look(row: LayerRow): Promise<void> {
    const bad = await pool.verify(`${folders.layers}/${row.folder}`, row.manifestSha256).catch((thrown: unknown) => {
      if (closed || mayPass(thrown)) throw thrown;
      // A layer that cannot be read may be damaged in any way.
      return [reasonOf(thrown)];
    });
    if (bad.length === 0) return;
    log.warn({ layer: row.folder, files: bad }, 'a layer was damaged by an unclean stop and is unpacked again');
    try {
      await restore(row);
    } catch (thrown) {
      if (closed || mayPass(thrown)) throw thrown;
      await lose(row, reasonOf(thrown));
    }
  }

  async function restore(row: LayerRow): Promise<void> {
    const lowers = row.dependent ? await claimLowers(row) : [];
    try {
      await unpackAgain(row, lowers);
    } finally {
      await Promise.all(lowers.map((lower) => lower.release()));
    }
  }

  /**
   * Claims the layers below a dependent layer, top-most first, once they are whole. Without a claim, the removal of the image would
   * delete them while the layer is unpacked on them.
   */
  async function claimLowers(row: LayerRow): Promise<readonly LayerClaim[]> {
    for (;;) {
      // The layers below are older than the layer: no check waits for itself.
      await ensure(lowersOf(records.list(), row));
      const claims = lowersOf(records.list(), row).map((folder) => layers.claimFolder(folder));
      const claimed = claims.filter((claim) => claim !== undefined);
      if (claimed.length === claims.length) return claimed;
      await Promise.all(claimed.map((claim) => claim.release()));
      const removal = layers.withdrawing();
      if (removal === undefined) throw new Error('a layer below it is not recorded');
      await removal;
    }
  }

  async function unpackAgain(row: LayerRow, lowers: readonly LayerClaim[]): Promise<void> {
    const begun = parts.sync.era();
    const staging = `${folders.staging}/${row.folder}.${randomUUID()}`;
    const request = {
      blob: `${folders.blobs}/${hexOf(row.blobDigest)}`,
      staging,
      diffId: row.diffId,
      lowest: row.dependent ? lowers.length === 0 : lowersOf(records.list(), row).length === 0,
      limits: parts.limits,
    };
    try {
      const roots = lowers.map((lower) => `${folders.layers}/${lower.row().folder}/fs`);
      const unpacked = await pool.unpack(request, () => Promise.resolve(roots));
      if (unpacked.manifestSha256 !== row.manifestSha256) throw new Error('its blob no longer gives the recorded files');
      const move = { kind: 'rename', from: staging, to: `${folders.layers}/${row.folder}` } as const;
      await publish(parts, [{ pendingMove: () => move, published: () => undefined, begun }]);
    } catch (thrown) {
      await parts.trash.discard(staging);
      throw thrown;
    }
  }

  /** Removes the images that need the layer together with it; a kubelet pulls them again. */
  async function lose(row: LayerRow, why: string): Promise<void> {
    for (const image of records.list()) {
      if (!image.layers.some((layer) => layer.folder === row.folder)) continue;
      log.error(
        { image: image.id, names: image.names.map(({ name }) => name), layer: row.folder, why },
        'an image lost a layer and was removed: pull it again',
      );
      await records.removeImage(image.id);
    }
    await records.removeLayers([row.folder]);
    await parts.places.vacate(row.folder);
  }

  async function ensure(wanted: readonly string[]): Promise<void> {
    const checks = wanted.flatMap((folder) => {
      if (!unchecked.has(folder)) return [];
      const check = underWay.get(folder) ?? begin(folder);
      return [check];
    });
    // All checks end before this function does: the caller may remove the folders that they read.
    const failed = (await Promise.allSettled(checks)).find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  function begin(folder: string): Promise<void> {
    const flight = check(folder).finally(() => underWay.delete(folder));
    underWay.set(folder, flight);
    return flight;
  }

  return {
    isChecked: (wanted) => !wanted.some((folder) => unchecked.has(folder)),
    ensure,
    doubt: (folder) => void unchecked.add(folder),
    async all() {
      const before = unchecked.size;
      if (before === 0) return;
      log.info({ layers: before }, 'layers are compared with their file lists: the last run did not end in order in this boot');
      for (const folder of [...unchecked]) {
        if (closed) return;
        await ensure([folder]).catch((error: unknown) => {
          if (!closed)
            log.error({ layer: folder, error: reasonOf(error) }, 'a layer could not be checked; it is tried again when it is used');
        });
      }
      log.info({ layers: before, left: unchecked.size }, 'layers were compared with their file lists');
    },
    unchecked: () => unchecked,
    async close() {
      closed = true;
      await Promise.allSettled(underWay.values());
    },
  };
}

const passingErrors = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']);
const passingKinds = new Set(['unavailable', 'cancelled', 'deadline']);

/**
 * Whether a failure says nothing about the blob that a layer is restored from: the same attempt may succeed
 * later.
 */
function mayPass(thrown: unknown): boolean {
  if (passingErrors.has(errnoOf(thrown) ?? '')) return true;
  return isPortcullisError(thrown) && (thrown.code === 'IMAGES_DISK_FULL' || passingKinds.has(thrown.kind));
}

function uncheckedError(folder: string, cause: unknown): Error {
  return imageError({
    code: 'IMAGES_LAYER_UNCHECKED',
    kind: 'unavailable',
    attempted: 'check layer after an unclean stop',
    on: folder,
    why: reasonOf(cause),
    fix: 'see the reason; the layer is checked again when it is used, and removing the image and pulling it again replaces it',
    cause,
  });
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
