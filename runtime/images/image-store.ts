import type { RegistryClient, RegistryClientOptions } from '../../base/distribution/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Database } from '../../base/storage/index.ts';
import { hostPlatform } from '../../trust/index.ts';
import type { Platform, TrustPolicy, Verdict, VerdictLog } from '../../trust/index.ts';
import { createBlobShelf } from './blobs.ts';
import { createDecisions, refusal } from './decisions.ts';
import type { Decisions } from './decisions.ts';
import { imageError } from './failures.ts';
import { makeStoreFolders, storeFolders } from './folders.ts';
import { createLayerShelf } from './layers.ts';
import { checkMapping } from './mapped-layers.ts';
import type { MappedRoots } from './mapped-layers.ts';
import { defaultLimits } from './limits.ts';
import type { ImageLimits } from './limits.ts';
import { tryImageName } from './names.ts';
import { pullImage } from './pull.ts';
import { openImageRecords } from './records.ts';
import type { ImageRecords, NameRow, StoredImage } from './records.ts';
import { reconcileStore } from './reconcile.ts';
import { openVolumeShelf, withVolumes } from './image-volume.ts';
import { openQuotaShelf, withQuotas } from './quota.ts';
import { openRootfsShelf } from './rootfs.ts';
import { createSerial } from './serial.ts';
import { openShutdownMarker } from './shutdown-marker.ts';
import { sweepLayers } from './sweep.ts';
import { createTrash } from './trash.ts';
import type { ImageRecord, ImageStore } from './types.ts';
import { createUnpackPool } from './unpack/unpack-pool.ts';

export interface ImageStoreOptions {
  /** A folder of the store's own, 0700. All of it lies on one file system. */
  readonly root: string;
  /** Opened with {@link imageMigrations} and trust's verdict log among its migrations. */
  readonly database: Database;
  readonly kernel: Kernel;
  readonly registryClient: Pick<RegistryClient, 'repositories'>;
  /** The options that the client was made with. With them, blobs from 4 MiB on are fetched in Workers, so that a large pull never stalls the main thread. */
  readonly registryOptions?: RegistryClientOptions;
  /** The policy in force; undefined: nothing is admitted. */
  readonly policy: () => TrustPolicy | undefined;
  /** Where verdicts are kept; without it their rows have no checkpoints. */
  readonly verdictLog?: Pick<VerdictLog, 'statements'>;
  /** Of this machine unless told. */
  readonly platform?: Platform;
  readonly limits?: Partial<ImageLimits>;
  /** Where root file systems of containers with a user namespace are mounted; `<root>/mapped` unless told. */
  readonly mappedRoots?: MappedRoots;
  readonly log: Logger;
  readonly now?: () => Date;
  /** Hears the bytes of each blob that has come from a registry. */
  readonly onFetched?: (bytes: number) => void;
}

export interface OpenImageStore extends ImageStore {
  /** Waits for removals in the background, marks the stop as orderly, ends the Workers. Kernel and database stay open. */
  close(): Promise<void>;
}

/** The image room: the one door for content. Call `reconcile` once before the first request. */
export async function createImageStore(options: ImageStoreOptions): Promise<OpenImageStore> {
  const { root, database, kernel, registryClient, log } = options;
  const folders = storeFolders(root);
  await makeStoreFolders(folders);
  const platform = options.platform ?? hostPlatform();
  const limits: ImageLimits = { ...defaultLimits, ...options.limits };
  const now = options.now ?? (() => new Date());
  const [marker, records] = await Promise.all([openShutdownMarker(folders), openImageRecords(database)]);
  const mappedRoots = options.mappedRoots ?? { folder: `${root}/mapped`, open: () => Promise.resolve() };
  const trash = createTrash(folders.trash, kernel, log);
  const volumes = await openVolumeShelf(folders, kernel, trash, log);
  const quotas = await openQuotaShelf(folders, kernel, log);
  const rootfs = withVolumes(withQuotas(await openRootfsShelf(folders, mappedRoots, kernel, trash, log), quotas), volumes);
  const pool = createUnpackPool();
  const decisions = createDecisions({ policy: options.policy, now, log: options.verdictLog });
  const blobs = createBlobShelf(folders, records.hasBlob, options.onFetched);
  const isOwned = (folder: string): boolean => records.isLayerOwned(folder) || rootfs.uses(folder);
  const layers = createLayerShelf({ folders, pool, trash, limits, recorded: records.layer, isOwned });
  const parts = {
    folders,
    limits,
    platform,
    records,
    blobs,
    layers,
    pool,
    decisions,
    registryClient,
    registryOptions: options.registryOptions,
    log,
    now,
    publishing: createSerial(),
    rootfs,
    trash,
  };
  const sweeping = createSerial();
  const sweep = (): Promise<void> => sweeping(() => sweepLayers(parts));
  let unclean = marker.unclean;
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await pool.close();
    await trash.settled();
    await marker.stopped();
  };

  return {
    async pull(request) {
      const { image, verdict } = await pullImage(parts, request);
      return { image: image.record, verdict };
    },
    list: () => records.list().map((image) => image.record),
    find: (nameOrId) => findImage(records, nameOrId)?.record,
    async remove(nameOrId) {
      const image = findImage(records, nameOrId);
      if (image === undefined) return;
      await records.removeImage(image.id);
      await sweep();
      log.info({ image: image.id, names: image.names.map(({ name }) => name) }, 'image removed');
    },
    decideForRun: (input) => decideForRun(records, decisions, platform, input),
    async mountRootfs(containerId, image, mapping, context) {
      const stored = records.byId(image.id);
      if (stored === undefined) throw gone('mount root file system of', image.id);
      return rootfs.mount(
        containerId,
        image.id,
        stored.layers.map((layer) => layer.folder),
        mapping,
        context,
      );
    },
    checkMapping: (userNamespace) => checkMapping(kernel, folders, mappedRoots, userNamespace),
    async mountVolume(containerId, index, image, mapping) {
      const stored = records.byId(image.id);
      if (stored === undefined) throw gone('mount as volume', image.id);
      return volumes.mount(
        containerId,
        index,
        image.id,
        stored.layers.map((layer) => layer.folder),
        mapping,
      );
    },
    limitsWrites: quotas.enforced,
    limitWrites: quotas.limit,
    async removeRootfs(containerId) {
      await rootfs.remove(containerId);
      await sweep();
    },
    async reconcile(valid) {
      await reconcileStore(parts, valid, unclean);
      unclean = false;
    },
    usage() {
      let usedBytes = 0;
      let inodesUsed = 0;
      const blobSizes = new Map<string, number>();
      for (const row of records.layers()) {
        usedBytes += row.bytes;
        inodesUsed += row.inodes;
        blobSizes.set(row.blobDigest, row.blobSize);
      }
      for (const size of blobSizes.values()) usedBytes += size;
      return Promise.resolve({ mountpoint: root, usedBytes, inodesUsed: inodesUsed + blobSizes.size });
    },
    close: () => (closed ??= close()),
  };
}

/** Ids as crictl abbreviates them have 13 digits. */
const idForm = /^(?:sha256:)?([0-9a-f]{12,64})$/;

function findImage(records: ImageRecords, nameOrId: string): StoredImage | undefined {
  const hex = idForm.exec(nameOrId)?.[1];
  if (hex !== undefined) {
    const byId = records.byId(`sha256:${hex}`);
    if (byId !== undefined) return byId;
    const matches = records.list().filter((image) => image.id.startsWith(`sha256:${hex}`));
    if (matches.length === 1) return matches[0];
    if (matches.length > 1) return undefined;
    const digest = `sha256:${hex}`;
    const byDigest = records.list().find((image) => image.names.some((name) => name.digest === digest || name.manifestDigest === digest));
    if (byDigest !== undefined) return byDigest;
  }
  const name = tryImageName(nameOrId);
  return name === undefined ? undefined : records.byName(name.text);
}

/**
 * Decides about a recorded image for one namespace, from the evidence found under each name. Resolves only with an admitting
 * verdict; with several names its ceilings are those of all of them. A verdict is logged the first time it is given in a run.
 */
async function decideForRun(
  records: ImageRecords,
  decisions: Decisions,
  platform: Platform,
  input: { readonly image: ImageRecord; readonly userSpecified: string; readonly namespace: string },
): Promise<Verdict> {
  const attempted = 'run image';
  const stored = records.byId(input.image.id);
  if (stored === undefined) throw gone(attempted, input.image.id);
  const policy = decisions.policy(attempted, stored.id);
  const names = namesToDecide(stored, input.userSpecified);
  const answers = names.map(({ name, dossier }) =>
    decisions.again(policy, { dossier, reference: name, namespace: input.namespace, platform }),
  );
  const statements = answers.flatMap(({ log }) => log);
  if (statements.length > 0) await records.append(statements);
  for (const { verdict } of answers) decisions.logged(verdict);
  const refused = answers.find(({ verdict }) => verdict.outcome !== 'admit');
  if (refused !== undefined) throw refusal(refused.verdict, attempted);
  const [first, ...others] = answers.map(({ verdict }) => verdict);
  if (first === undefined) throw gone(attempted, stored.id);
  if (others.length === 0) return first;
  const exceptions = [first, ...others].flatMap((verdict) => verdict.exceptions ?? []);
  return {
    ...first,
    ...(exceptions.length > 0 && { exceptions }),
    ceilings: [...first.ceilings, ...others.flatMap((verdict) => verdict.ceilings)],
    unverified: [first, ...others].some((verdict) => verdict.unverified),
  };
}

/** The name that the caller used, as the image was recorded under; without one, every name that was asked for. */
function namesToDecide(image: StoredImage, userSpecified: string): readonly NameRow[] {
  const hex = idForm.exec(userSpecified)?.[1];
  const byId = userSpecified === '' || (hex !== undefined && image.id.startsWith(`sha256:${hex}`));
  if (!byId) {
    const wanted = tryImageName(userSpecified);
    const row = image.names.find(({ name }) => name === wanted?.text);
    if (row !== undefined) return [row];
    throw imageError({
      code: 'IMAGES_NAME_NOT_RECORDED',
      kind: 'denied',
      attempted: 'run image',
      on: userSpecified,
      why: `${image.id} was never pulled under that name, so nothing proves that the name stands for it`,
      fix: 'pull the image under that name first',
      prefix: 'SignatureValidationFailed',
      details: { image: image.id },
    });
  }
  const asked = image.names.filter((name) => name.asked);
  return asked.length > 0 ? asked : image.names;
}

function gone(attempted: string, id: string): Error {
  return imageError({
    code: 'IMAGES_NOT_FOUND',
    kind: 'not-found',
    attempted,
    on: id,
    why: 'the image is not recorded',
    fix: 'pull it first',
  });
}
