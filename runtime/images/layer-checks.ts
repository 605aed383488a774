import { reasonOf } from '../../base/errors/index.ts';
import { imageError, mayPass, provesDamage } from './limits/failures.ts';
import type { LazyLayers } from './lazy-layers.ts';
import { isBlobLost, loseLayer, restoreLayer } from './layer-restore.ts';
import type { LayerRestoreDeps } from './layer-restore.ts';
import { encodeAgain } from './own-encoding.ts';
import type { OwnEncoding } from './own-encoding.ts';
import type { LayerRow } from './stored-image.ts';

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

export interface LayerChecksDeps extends Omit<LayerRestoreDeps, 'ensure'> {
  /** Removes layers and blobs without an owner. */
  readonly sweep: () => Promise<void>;
  readonly lazy: Pick<LazyLayers, 'reach' | 'state' | 'complete' | 'finish'>;
}

/** @param found layer folders that may be damaged */
export function createLayerChecks(deps: LayerChecksDeps, found: Iterable<string>): LayerChecks {
  const { records, layers, log, roots } = deps;
  const closing = new AbortController();
  const unchecked = new Set(found);
  const underWay = new Map<string, Promise<void>>();

  async function check(folder: string): Promise<void> {
    // A row whose removal fails is present again.
    for (let removal = layers.withdrawing(); removal !== undefined; removal = layers.withdrawing())
      await removal;
    // The claim lasts until the end: meanwhile no sweep removes the layer, and no other layer gets its place.
    const claim = layers.claimFolder(folder);
    try {
      if (claim !== undefined) await look(claim.row());
      unchecked.delete(folder);
    } catch (thrown) {
      throw uncheckedError(folder, thrown);
    } finally {
      await claim?.release();
    }
    // The layer was lost, or its image was removed during this check.
    if (!records.isLayerOwned(folder)) await deps.sweep();
  }

  async function look(row: LayerRow): Promise<void> {
    if (row.lazy === true) {
      await checkLazy(deps, row, closing.signal);
      return;
    }
    // This machine cannot use a layer in a form that it does not mount.
    const found = roots.isUsable(row) ? await compare(deps, row, closing.signal) : undefined;
    if (found !== undefined) {
      if (found.bad.length === 0) return;
      log.warn(
        { layer: row.folder, files: found.bad },
        'a layer was damaged by an unclean stop and is unpacked again',
      );
    } else {
      log.warn(
        { layer: row.folder },
        'this machine no longer mounts layer files: a layer is unpacked again, as a folder',
      );
    }
    try {
      await restoreLayer({ ...deps, ensure }, row);
    } catch (thrown) {
      // Only a layer that is known to be bad, with a blob that is known to be missing or bad, is lost. Any
      // other one may be restored later.
      if (closing.signal.aborted || found?.isProven === false || !isBlobLost(thrown)) throw thrown;
      await loseLayer(deps, row, reasonOf(thrown));
    }
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
      log.info(
        { layers: before },
        'layers are compared with their file lists, because the last run did not end with an orderly stop during this boot',
      );
      for (const folder of [...unchecked]) {
        if (closing.signal.aborted) return;
        await ensure([folder]).catch((error: unknown) => {
          if (!closing.signal.aborted)
            log.error(
              { layer: folder, error: reasonOf(error) },
              'a layer could not be checked; it is tried again when it is used',
            );
        });
      }
      log.info({ layers: before, left: unchecked.size }, 'layers were compared with their file lists');
    },
    unchecked: () => unchecked,
    async close() {
      closing.abort(new Error('the daemon stops'));
      await Promise.allSettled(underWay.values());
    },
  };
}

/** @returns what is wrong with a layer, and whether that is certain */
async function compare(
  { pool, folders }: Pick<LayerChecksDeps, 'folders' | 'pool'>,
  row: LayerRow,
  closing: AbortSignal,
): Promise<{ readonly bad: readonly string[]; readonly isProven: boolean }> {
  try {
    return { bad: await pool.verify(`${folders.layers}/${row.folder}`, row), isProven: true };
  } catch (thrown) {
    if (closing.aborted || mayPass(thrown)) throw thrown;
    // A layer that cannot be read may be damaged in any way, or whole.
    return { bad: [reasonOf(thrown)], isProven: provesDamage(thrown) };
  }
}

/** An incomplete layer cannot be restored, because it has no blob yet. Its images are pulled again. */
async function checkLazy(deps: LayerChecksDeps, row: LayerRow, closing: AbortSignal): Promise<void> {
  const { lazy } = deps;
  // An unknown state is no reason to remove an image.
  await lazy.reach();
  const state = lazy.state(row.folder);
  if (state === 'filling') return;
  // The keeper of a killed filler refuses reads with EIO: this proves no damage, but nothing fills the layer.
  const verify = async (): Promise<readonly string[]> => (await compare(deps, row, closing)).bad;
  const found =
    state === undefined
      ? await lazy.complete(row, verify, closing)
      : state === 'complete'
        ? 'file'
        : undefined;
  if (found !== undefined) {
    await finishLazy(deps, row, found === 'file', () => closing.aborted);
    return;
  }
  const why =
    state === 'refused'
      ? 'the fetched content differs from the signed content'
      : 'it was not complete, and no filler fills it';
  await loseLayer(deps, row, why);
}

/**
 * Makes an ordinary layer of a complete one that was started lazily.
 * @param isFilled false: only its blob is complete, and its file is written again
 */
async function finishLazy(
  deps: Omit<LayerChecksDeps, 'sweep'>,
  row: LayerRow,
  isFilled: boolean,
  isClosed: () => boolean,
): Promise<void> {
  let own: OwnEncoding | undefined;
  try {
    own = await encodeAgain(deps, row, isFilled);
  } catch (thrown) {
    if (isClosed() || mayPass(thrown)) throw thrown;
    await loseLayer(deps, row, `its blob cannot be used: ${reasonOf(thrown)}`);
    return;
  }
  try {
    await deps.lazy.finish(row, own);
  } finally {
    // Empty after its file was moved to its place.
    if (own !== undefined) await deps.trash.discard(own.staging);
  }
}

function uncheckedError(folder: string, cause: unknown): Error {
  return imageError({
    code: 'IMAGES_LAYER_UNCHECKED',
    kind: 'unavailable',
    attempted: 'check layer after an unclean stop',
    on: folder,
    why: reasonOf(cause),
    fix: 'see the reason; the layer is checked again when it is used, and `portcullis images repair` fetches its blob again if the disk cannot read it',
    cause,
  });
}
