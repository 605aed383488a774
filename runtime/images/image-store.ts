import { reasonOf } from '../../base/errors/index.ts';
import type { RegistryClient, RegistryClientOptions } from '../../base/distribution/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Database } from '../../base/storage/index.ts';
import { createNegativeCache } from '../../trust/evidence/index.ts';
import { createTrustServices, hostPlatform } from '../../trust/index.ts';
import type { Dossier, Platform, TrustPolicy, Verdict } from '../../trust/index.ts';
import type { LayoutFiles } from '../../trust/transfer/index.ts';
import type { VerdictLog } from '../../trust/verdict-log/index.ts';
import { startBackgroundChecks } from './background-checks.ts';
import type { BackgroundChecks } from './background-checks.ts';
import { createBlobStore } from './blobs.ts';
import { fillWritableLayer } from './changed-files.ts';
import { holdsCheckpoint } from './checkpoint-image.ts';
import { createDecisions } from './decisions.ts';
import { decideForRun, foresee, judge } from './decide-for-run.ts';
import { findImage, gone } from './find-image.ts';
import { makeStoreFolders, storeFolders } from './folders.ts';
import { importImage } from './import-image.ts';
import type { ImportDeps, ImportRequest } from './import-image.ts';
import { createLayerChecks } from './layer-checks.ts';
import type { LayerChecks } from './layer-checks.ts';
import { chooseLayerForm, formFacts } from './layer-form.ts';
import type { ChosenForm } from './layer-form.ts';
import { openLazyLayers } from './lazy-layers.ts';
import type { LazyLayers, LazyOptions } from './lazy-layers.ts';
import { createLayerPlaces } from './layer-folders.ts';
import { openLayerRoots } from './layer-roots.ts';
import type { LayerRoots } from './layer-roots.ts';
import { createLayerStore } from './layers.ts';
import { checkMapping } from './mapped-layers.ts';
import type { MappedRoots } from './mapped-layers.ts';
import { defaultLimits } from './limits/limits.ts';
import type { ImageLimits } from './limits/limits.ts';
import { pullImage, tryPull } from './pull.ts';
import { openImageRecords } from './records.ts';
import { reconcileStore } from './reconcile.ts';
import { evidenceInUse, renewEvidenceOf } from './renew.ts';
import { openVolumeStore, withVolumes } from './image-volume.ts';
import type { VolumeStore } from './image-volume.ts';
import { openQuotaStore, withQuotas } from './quota.ts';
import type { QuotaStore } from './quota.ts';
import { openRootfsStore } from './rootfs.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import { createSharedDocuments } from './shared-documents.ts';
import { createSharedFlight } from './shared-flight.ts';
import { openShutdownMarker } from './shutdown-marker.ts';
import type { ShutdownMarker } from './shutdown-marker.ts';
import { createStoreUsage } from './store-usage.ts';
import { openStoreSync } from './store-sync.ts';
import { createSweeper, sweepLayers } from './sweep.ts';
import type { SweepDeps } from './sweep.ts';
import { createTrash } from './trash.ts';
import { createLayerPool } from './layer-workers/layer-pool.ts';
import { storedForms } from './stored-forms.ts';
import type { ImageRecord, ImageStore } from './types.ts';
import { createImageUpkeep } from './upkeep.ts';
import type { ImageUpkeep } from './upkeep.ts';

export interface ImageStoreOptions {
  /** The store's own folder, with mode 0700. All of it is on one file system. */
  readonly root: string;
  /** Opened with {@link imageMigrations} and trust's verdict log among its migrations. */
  readonly database: Database;
  readonly kernel: Kernel;
  readonly registryClient: Pick<RegistryClient, 'repositories'>;
  /**
   * The options of the registry client. With them, blobs of 4 MiB or more are fetched in Workers, so that a
   * large pull never blocks the main thread; trust services use the options too.
   */
  readonly registryOptions?: RegistryClientOptions;
  /** Returns the policy in force; undefined: nothing is admitted. */
  readonly policy: () => TrustPolicy | undefined;
  /** Why the source of the policy has none; undefined: its files are wrong. */
  readonly lacking?: () => string | undefined;
  /** The verdict log; without it, rows have no checkpoints. */
  readonly verdictLog?: Pick<VerdictLog, 'statements'>;
  /**
   * Reads the files of layouts that are imported. If absent, this process reads them, and waits for their
   * file system.
   */
  readonly givenFiles?: LayoutFiles;
  /** By default the platform of this machine. */
  readonly platform?: Platform;
  readonly limits?: Partial<ImageLimits>;
  /**
   * The form of new layers; by default folders. `auto`: one EROFS file each if the kernel mounts such files,
   * otherwise folders.
   */
  readonly layers?: 'auto' | 'erofs' | 'folders';
  /**
   * Milliseconds from one comparison of all layers that fs-verity does not protect to the next one, in the
   * background. By default, and with 0, there is none.
   */
  readonly checkEveryMs?: number;
  /** Where root file systems of containers with a user namespace are mounted; by default `<root>/mapped`. */
  readonly mappedRoots?: MappedRoots;
  /**
   * Whether containers start before the layers of an image with a signed chunk index are complete. Default:
   * never.
   */
  readonly lazy?: LazyOptions;
  readonly log: Logger;
  readonly now?: () => Date;
  /** Receives the bytes of each blob that was fetched from a registry. */
  readonly onFetched?: (bytes: number) => void;
}

export interface OpenImageStore extends ImageStore {
  /**
   * Compares all layers that may be damaged with their file lists, in the background, until all are done or
   * the store is closed. A layer that is used before its turn is checked first. Never fails: see the log.
   * Then starts the periodic checks of all layers, if they are configured.
   */
  checkLayers(): Promise<void>;
  /** Pulls an image from a layout on this machine. @throws the errors of {@link importImage} */
  importLayout(request: ImportRequest): Promise<{ readonly image: ImageRecord; readonly verdict: Verdict }>;
  readonly upkeep: ImageUpkeep;
  /**
   * Waits for removals in the background, marks the stop as orderly, ends the Workers. The kernel and the
   * database stay open.
   */
  close(): Promise<void>;
}

/** Dependencies that the operations of the store share. */
interface StoreDeps extends ImportDeps, SweepDeps {
  readonly checks: LayerChecks;
  readonly marker: ShutdownMarker;
  readonly volumes: VolumeStore;
  readonly quotas: QuotaStore;
  readonly mappedRoots: MappedRoots;
  readonly roots: LayerRoots;
  readonly chosen: ChosenForm;
  readonly lazy: LazyLayers;
}

/** Opens the image store: all content passes through it. Call `reconcile` once before the first request. */
export async function createImageStore(options: ImageStoreOptions): Promise<OpenImageStore> {
  const { root, database, kernel, log } = options;
  let closed: Promise<void> | undefined;
  const sweeper = createSweeper({
    sweep: () => sweepLayers(deps),
    isClosed: () => closed !== undefined,
    log,
  });
  const deps = await openStoreDeps(options, sweeper.sweep);
  const { folders, platform, records, checks, decisions, services, rootfs, volumes, quotas, mappedRoots } =
    deps;
  const { sweep } = sweeper;
  const used = createStoreUsage(folders, records);

  const upkeep = createImageUpkeep({ ...deps, sweep });
  let background: BackgroundChecks | undefined;
  const recorded = async (
    pulled: ReturnType<typeof pullImage>,
  ): Promise<{ readonly image: ImageRecord; readonly verdict: Verdict }> => {
    try {
      const { image, verdict } = await pulled;
      return { image: image.record, verdict };
    } catch (thrown) {
      // Layers whose images were removed while this pull had claims on them have no owner now.
      await sweep().catch(() => undefined);
      throw thrown;
    }
  };

  return {
    pull: (request) => recorded(pullImage(deps, request)),
    importLayout: (request) => recorded(importImage(deps, request)),
    upkeep,
    tryPull: (request) => tryPull(deps, request),
    list: () => records.list().map((image) => image.record),
    find: (nameOrId) => findImage(records, nameOrId)?.record,
    async remove(nameOrId) {
      const image = findImage(records, nameOrId);
      // A client repeats a removal that failed halfway.
      if (image === undefined) return sweeper.isDue() ? sweep() : undefined;
      await records.removeImage(image.id);
      await sweep();
      log.info({ image: image.id, names: image.names.map(({ name }) => name) }, 'image removed');
    },
    decideForRun: (input) => decideForRun(records, decisions, platform, input),
    judge: (input) => judge({ records, decisions, platform, database }, input),
    foresee: (policy, input) => foresee({ records, decisions, platform, database }, policy, input),
    evidence: (imageId) => evidenceInUse(records, imageId),
    services,
    renew: (old, fresh) => renewEvidenceOf({ records, decisions, platform, database }, old, fresh),
    mountRootfs: (containerId, image, mapping, context) =>
      withLayers(deps, 'mount root file system of', image.id, (needed) =>
        rootfs.mount(containerId, image.id, needed, mapping, context),
      ),
    fillRootfs: (containerId, image, archive) =>
      withLayers(deps, 'fill root file system of', image.id, (needed) =>
        fillWritableLayer(deps, containerId, needed, archive),
      ),
    holdsCheckpoint: (image) => holdsCheckpoint(database, image.id),
    checkMapping: (userNamespace) => checkMapping(kernel, folders, mappedRoots, userNamespace),
    mountVolume: (containerId, index, image, mapping) =>
      withLayers(deps, 'mount as volume', image.id, (needed) =>
        volumes.mount(containerId, index, image.id, needed, mapping),
      ),
    storedForms: (image) => storedForms(records, image.id),
    layerForm: formFacts(deps.chosen),
    limitsWrites: quotas.enforced,
    limitWrites: quotas.limit,
    async removeRootfs(containerId) {
      await rootfs.remove(containerId);
      await sweep();
    },
    reconcile: (valid) => reconcileStore({ ...deps, sweep }, valid),
    async checkLayers() {
      await checks.all();
      const { checkEveryMs: everyMs = 0 } = options;
      if (everyMs > 0 && closed === undefined)
        background ??= startBackgroundChecks({ folders, records, upkeep, log }, { everyMs });
    },
    usage: async () => ({ mountpoint: root, ...(await used()) }),
    close() {
      // Closed first, so that no further check follows the one that the upkeep ends.
      const ended = background?.close();
      return (closed ??= Promise.all([ended, upkeep.close()])
        // oxlint-disable-next-line typescript/no-misused-promises -- finally waits for the promise
        .finally(() => closeStore(deps))
        .then(() => undefined));
    },
  };
}

/**
 * Opens everything that the operations of the store share.
 * @param sweep removes layers and blobs without an owner
 */
async function openStoreDeps(options: ImageStoreOptions, sweep: () => Promise<void>): Promise<StoreDeps> {
  const { root, database, kernel, registryClient, log } = options;
  const folders = storeFolders(root);
  await makeStoreFolders(folders);
  const platform = options.platform ?? hostPlatform();
  const limits: ImageLimits = { ...defaultLimits, ...options.limits };
  const now = options.now ?? (() => new Date());
  const records = await openImageRecords(database, log);
  const marker = await openShutdownMarker(
    folders,
    [...records.layers()].map(({ folder }) => folder),
  );
  const mappedRoots = options.mappedRoots ?? { folder: `${root}/mapped`, open: () => Promise.resolve() };
  const trash = createTrash(folders.trash, kernel, log);
  const pool = createLayerPool();
  const chosen = await chooseLayerForm(options.layers ?? 'folders', records.layers(), kernel, folders, log);
  const roots = await openLayerRoots({
    ...{ folders, kernel, pool, recorded: records.layer, way: chosen.way, log },
    // Called when a layer is used, after the store was opened.
    damaged: (folder) => {
      checks.doubt(folder);
    },
    requireGuarded: (folder) => {
      lazy.requireGuarded(folder);
    },
  });
  const volumes = await openVolumeStore(folders, kernel, roots, trash, log);
  const quotas = await openQuotaStore(folders, kernel, log);
  const rootfs = withVolumes(
    withQuotas(await openRootfsStore(folders, mappedRoots, kernel, roots, trash, log), quotas),
    volumes,
  );
  const sync = await openStoreSync(root, pool);
  const services = createTrustServices({
    folder: `${root}/trust-services`,
    registries: options.registryOptions ?? {},
  });
  const decisions = createDecisions({
    ...{ root, policy: options.policy, lacking: options.lacking, now, log: options.verdictLog, database },
  });
  const blobs = createBlobStore(folders, records.hasBlob, sync.era, options.onFetched);
  const isOwned = (folder: string): boolean => records.isLayerOwned(folder) || rootfs.uses(folder);
  const layers = createLayerStore({
    folders,
    pool,
    trash,
    roots,
    form: chosen.form,
    limits,
    era: sync.era,
    recorded: records.layer,
    isOwned,
  });
  const places = createLayerPlaces({ folders, trash, uses: (folder) => rootfs.uses(folder), roots });
  const publishing = createSerialQueue();
  const leftovers = new Map<string, string>();
  const lazy = await openLazyLayers(
    {
      ...{ folders, pool, records, sync, log, way: chosen.way, registryOptions: options.registryOptions },
      publishDeps: () => ({ folders, pool, layers, places, sync, publishing, log }),
      look(folder) {
        checks.doubt(folder);
        checks.ensure([folder]).catch((error: unknown) => {
          log.warn(
            { layer: folder, error: reasonOf(error) },
            'a layer could not be checked; it is tried again when it is used',
          );
        });
      },
    },
    options.lazy,
  );
  // A guarded layer may be used immediately. A layer that is not guarded is checked first, however the last
  // run ended.
  const unchecked = new Set(marker.unchecked);
  for (const { folder, lazy: hasHoles } of records.layers()) {
    if (hasHoles !== true) continue;
    if (lazy.state(folder) === 'filling') unchecked.delete(folder);
    else unchecked.add(folder);
  }
  const checks = createLayerChecks(
    {
      ...{ folders, records, layers, places, roots, pool, publishing, sync, trash, leftovers },
      ...{ limits, log, sweep, lazy },
    },
    unchecked,
  );
  return {
    ...{
      folders,
      limits,
      platform,
      now,
      log,
      records,
      blobs,
      layers,
      places,
      roots,
      chosen,
      pool,
      sync,
      trash,
      publishing,
    },
    ...{ lazy, checks, marker, decisions, services, rootfs, volumes, quotas, mappedRoots, registryClient },
    registryOptions: options.registryOptions,
    givenFiles: options.givenFiles,
    leftovers,
    gathering: createSharedFlight<Dossier>(),
    documents: createSharedDocuments(),
    negativeCache: createNegativeCache(),
  };
}

async function closeStore({
  decisions,
  services,
  checks,
  pool,
  sync,
  trash,
  marker,
  roots,
  lazy,
}: StoreDeps): Promise<void> {
  await lazy.close();
  await decisions.close();
  await services.close();
  const checked = checks.close();
  await pool.close();
  await checked;
  await sync.close();
  await trash.close();
  await roots.close();
  await marker.stopped(checks.unchecked());
}

/**
 * Calls `use` with the layers of an image, lowest first, in the same event loop turn in which all layers
 * are known to be whole and the image to exist.
 */
async function withLayers<T>(
  { records, checks }: Pick<StoreDeps, 'records' | 'checks'>,
  attempted: string,
  imageId: string,
  use: (layers: readonly string[]) => Promise<T>,
): Promise<T> {
  for (let mayRestore = true; ;) {
    const stored = records.byId(imageId);
    if (stored === undefined) throw gone(attempted, imageId);
    // The kernel refuses an overlay that has a folder twice. The highest copy of a layer hides the others.
    const needed = [...new Set(stored.layers.map((layer) => layer.folder).reverse())].reverse();
    if (checks.isChecked(needed)) {
      try {
        return await use(needed);
      } catch (thrown) {
        // The file of a layer was found to be damaged: it is restored once.
        if (!mayRestore || checks.isChecked(needed)) throw thrown;
        mayRestore = false;
      }
    }
    await checks.ensure(needed);
  }
}
