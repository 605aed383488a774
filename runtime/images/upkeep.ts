import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { reasonOf } from '../../base/errors/index.ts';
import type { RegistryClient } from '../../base/distribution/index.ts';
import { findImage, gone } from './find-image.ts';
import { isWhole } from './is-whole.ts';
import { hexOf } from './folders.ts';
import { tryImageName } from './image-name.ts';

import type { LayerChecks } from './layer-checks.ts';
import type { LayerClaim } from './claimed-layers.ts';
import { imageError, mayPass } from './limits/failures.ts';
import { publish } from './publish.ts';
import type { PublishDeps } from './publish.ts';
import type { ImageRecords } from './records.ts';
import { firstAnswer } from './resolve.ts';
import { orAborted } from '../../base/queues/index.ts';
import type { LayerRow, StoredImage } from './stored-image.ts';
import type { LayerStore } from './layers.ts';
import { download } from './layer-workers/download.ts';
import { createLayerPool } from './layer-workers/layer-pool.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';

/** An image that no container uses. */
export interface UnusedImage {
  readonly id: string;
  readonly names: readonly string[];
  /** Compressed layers plus configuration, in bytes. */
  readonly size: number;
}

export interface StoredLayer {
  /** The name of its folder. */
  readonly layer: string;
  /** Disk usage of its files. */
  readonly bytes: number;
  /** Names of the images that have it. */
  readonly images: readonly string[];
  /** Whether fs-verity protects its file: the kernel then compares each block that it reads. */
  readonly verity: boolean;
}

export interface CheckedLayer {
  /**
   * Files that differ from the layer's list of files, at most 20, or what is wrong with its layer file;
   * empty: the layer is whole.
   */
  readonly damaged: readonly string[];
  /** The layer was started lazily, and is compared when it is complete: nothing was compared now. */
  readonly incomplete?: true;
}

export interface RepairedLayer {
  /** `registry`: its blob was damaged too, and was fetched again. */
  readonly from: 'nothing was damaged' | 'blob' | 'registry';
}

/** Operations for an operator that CRI does not have. */
export interface ImageUpkeep {
  /**
   * Returns the images that no container uses and that have lost their names: a tag was moved to another
   * image.
   * @param inUse ids of the images that containers use
   * @param all also returns those that have names
   */
  unused(inUse: ReadonlySet<string>, all: boolean): readonly UnusedImage[];
  /** Returns the layers of an image, or all layers. @throws IMAGES_NOT_FOUND */
  layers(nameOrId?: string): readonly StoredLayer[];
  /**
   * Compares a layer with its list of files, in a thread of low priority. A damaged layer is not used again
   * before it is restored. @throws IMAGES_LAYER_UNKNOWN
   */
  check(layer: string): Promise<CheckedLayer>;
  /**
   * Restores a damaged layer from its blob, which is fetched again if it is damaged too. Running containers
   * keep their files. @throws IMAGES_LAYER_UNKNOWN, IMAGES_NOT_REPAIRED
   */
  repair(layer: string): Promise<RepairedLayer>;
  /** Ends the operations in progress with IMAGES_STORE_CLOSED. */
  close(): Promise<void>;
}

export interface ImageUpkeepDeps extends PublishDeps {
  readonly records: ImageRecords;
  readonly layers: LayerStore;
  readonly checks: Pick<LayerChecks, 'doubt' | 'ensure'>;
  readonly registryClient: Pick<RegistryClient, 'repositories'>;
  /** Removes layers and blobs without an owner. */
  readonly sweep: () => Promise<void>;
}

export function createImageUpkeep(deps: ImageUpkeepDeps): ImageUpkeep {
  const { records, checks, folders, log } = deps;
  const closing = new AbortController();
  let pool: LayerPool | undefined;
  let closed: Promise<void> | undefined;
  // A separate Worker: a check of a large layer must not delay the layers of a pull.
  const background = (): LayerPool => (pool ??= createLayerPool({ size: 1, isBackground: true }));
  const damagedFiles = async (row: LayerRow): Promise<readonly string[]> => {
    closing.signal.throwIfAborted();
    // The whole layer is compared when it is complete.
    if (row.lazy === true) return [];
    return background()
      .verify(`${folders.layers}/${row.folder}`, row)
      .catch((thrown: unknown) => {
        closing.signal.throwIfAborted();
        if (mayPass(thrown)) throw thrown;
        // A layer that cannot be read, or whose list of files is missing, may be damaged in any way.
        return [reasonOf(thrown)];
      });
  };

  return {
    unused: (inUse, all) =>
      records
        .list()
        .filter((image) => !inUse.has(image.id) && (all || !image.names.some(({ asked }) => asked)))
        .map(({ id, names, size }) => ({ id, names: names.map(({ name }) => name), size })),
    layers(nameOrId) {
      const images = nameOrId === undefined ? records.list() : [found(records, nameOrId)];
      const owners = new Map<string, Set<string>>();
      for (const image of images)
        for (const { folder } of image.layers) {
          const names = owners.get(folder) ?? new Set();
          owners.set(folder, names.add(image.names[0]?.name ?? image.id));
        }
      return [...owners].flatMap(([folder, names]) => {
        const row = records.layer(folder);
        if (row === undefined) return [];
        const { bytes, verity } = row;
        return [{ layer: folder, bytes, images: [...names], verity: verity !== undefined }];
      });
    },
    check: (layer) =>
      withLayer(deps, layer, 'check layer', async (row) => {
        const damaged = await damagedFiles(row);
        if (damaged.length > 0) {
          checks.doubt(row.folder);
          log.warn(
            { layer: row.folder, files: damaged },
            'a check found a damaged layer; the layer is restored before it is used again',
          );
        }
        return { damaged, ...(row.lazy === true && { incomplete: true }) };
      }),
    async repair(layer) {
      const from = await withLayer(
        deps,
        layer,
        'repair layer',
        async (row): Promise<RepairedLayer['from']> => {
          if ((await damagedFiles(row)).length === 0) return 'nothing was damaged';
          checks.doubt(row.folder);
          if (await isWhole(`${folders.blobs}/${hexOf(row.blobDigest)}`, row.blobDigest, closing.signal))
            return 'blob';
          await fetchAgain(deps, row, closing.signal);
          return 'registry';
        },
      );
      if (from === 'nothing was damaged') return { from };
      await orAborted(checks.ensure([layer]), closing.signal);
      if (records.layer(layer) === undefined)
        throw notRepaired(
          layer,
          'its blob does not contain the recorded files, so its images were removed',
          'pull the images again',
        );
      log.info({ layer, from }, 'a damaged layer was restored');
      return { from };
    },
    close() {
      closing.abort(imageError(closedFailure));
      return (closed ??= pool?.close() ?? Promise.resolve());
    },
  };
}

const closedFailure = {
  code: 'IMAGES_STORE_CLOSED',
  kind: 'cancelled',
  attempted: 'check layers',
  on: '',
  why: 'the daemon stops',
  fix: 'try again when the daemon is running',
} as const;

function found(records: ImageRecords, nameOrId: string): StoredImage {
  const image = findImage(records, nameOrId);
  if (image === undefined) throw gone('find image', nameOrId);
  return image;
}

/** Calls `use` while a claim keeps the layer. */
async function withLayer<T>(
  { layers, records, sweep }: Pick<ImageUpkeepDeps, 'layers' | 'records' | 'sweep'>,
  layer: string,
  attempted: string,
  use: (row: LayerRow) => Promise<T>,
): Promise<T> {
  const claim: LayerClaim | undefined = layers.claimFolder(layer);
  if (claim === undefined)
    throw imageError({
      code: 'IMAGES_LAYER_UNKNOWN',
      kind: 'not-found',
      attempted,
      on: layer,
      why: 'no image has this layer, which may have been removed meanwhile',
      fix: 'list the layers again',
    });
  try {
    return await use(claim.row());
  } finally {
    await claim.release();
    // Its image was removed meanwhile, and the claim kept the layer.
    if (!records.isLayerOwned(layer)) await sweep();
  }
}

/**
 * Fetches the blob of a layer again, from a registry that serves an image with it, and stores it.
 * Its digest is the one that an admitted image lists, so no other decision is needed.
 */
async function fetchAgain(deps: ImageUpkeepDeps, row: LayerRow, signal: AbortSignal): Promise<void> {
  const { folders, records, registryClient, sync } = deps;
  const begun = sync.era();
  const descriptor = { digest: row.blobDigest, size: row.blobSize };
  const path = `${folders.ingest}/${hexOf(row.blobDigest)}.${randomUUID()}`;
  const owners = records.list().filter((image) => image.layers.some(({ folder }) => folder === row.folder));
  const names = [...new Set(owners.flatMap((image) => image.names.map(({ name }) => name)))];
  const places = names.flatMap((name) => {
    const reference = tryImageName(name)?.reference;
    return reference === undefined ? [] : registryClient.repositories(reference);
  });
  const distinct = [...new Map(places.map((place) => [`${place.host}/${place.repository}`, place])).values()];
  try {
    await firstAnswer(distinct, row.blobDigest, signal, async (place) => {
      // Bytes from another source may be the wrong bytes.
      await rm(path, { force: true });
      await download(place, descriptor, path, signal);
    });
    const move = { kind: 'link', from: path, to: `${folders.blobs}/${hexOf(row.blobDigest)}` } as const;
    await publish(deps, [{ pendingMove: () => move, published: () => undefined, begun }]);
  } catch (thrown) {
    signal.throwIfAborted();
    const fix =
      'pull the image again, with credentials if its registry needs them; the layer is not used before that';
    throw notRepaired(
      row.folder,
      `its blob is damaged, and could not be fetched again: ${reasonOf(thrown)}`,
      fix,
      thrown,
    );
  } finally {
    await rm(path, { force: true });
  }
}

function notRepaired(layer: string, why: string, fix: string, cause?: unknown): Error {
  return imageError({
    code: 'IMAGES_NOT_REPAIRED',
    kind: 'unavailable',
    attempted: 'repair layer',
    on: layer,
    why,
    fix,
    cause,
  });
}
