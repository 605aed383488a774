import { rm } from 'node:fs/promises';
import type { RegistryClientOptions } from '../../base/distribution/index.ts';
import { errnoOf, reasonOf } from '../../base/errors/index.ts';
import type { BlobOrigin } from './blob-sources.ts';
import { hexOf, lazyBlobName } from './folders.ts';
import { chunksSha256 } from './lazy/chunk-index.ts';
import type { ChunkIndex } from './lazy/chunk-index.ts';
import { findFiller, startFiller } from './lazy/filler-client.ts';
import type { FillerClient } from './lazy/filler-client.ts';
import { layerFileName } from './erofs/layer-folder.ts';
import type { MountWay } from './erofs/mount-layer.ts';
import { whyNoPreContentEvents } from './lazy/probe.ts';
import type { LayerState } from './lazy/protocol.ts';
import { imageError } from './limits/failures.ts';
import type { OwnEncoding } from './own-encoding.ts';
import { publish } from './publish.ts';
import type { PublishDeps } from './publish.ts';
import type { ImageRecords } from './records.ts';
import { orAborted } from '../../base/queues/index.ts';
import type { LayerRow } from './stored-image.ts';
import { isWhole } from './is-whole.ts';

/** How the daemon starts layers lazily. */
export interface LazyOptions {
  /** Whether pulls are lazy. Layers of an earlier run are completed in any case. */
  readonly isOn: boolean;
  /** Path of the filler's socket, at most 107 bytes, in a folder that only root enters. */
  readonly socket: string;
  /** Called with each process of the filler: they outlive the daemon. */
  readonly onStarted?: (pid: number) => void;
}

/** The layers whose files have holes, and the filler that guards them. */
export interface LazyLayers {
  /** Whether a pull can be lazy at this moment. */
  isOn(): boolean;
  /**
   * Hands the layers of an image to the filler, before they are recorded. Resolves when no read of their
   * files passes unanswered.
   * @throws IMAGES_LAYER_UNGUARDED
   */
  guard(rows: readonly LayerRow[], index: ChunkIndex, origin: BlobOrigin): Promise<void>;
  /**
   * Checks those of these recorded layers whose state became final before they were recorded: no further
   * message of the filler follows.
   */
  recorded(folders: readonly string[]): void;
  /**
   * Connects to the filler of an earlier run, if one may exist and is not connected: it may guard layers.
   * @throws when it cannot be reached now
   */
  reach(): Promise<void>;
  /** The state of a layer in the filler; undefined: the connected filler does not guard it. */
  state(folder: string): LayerState | undefined;
  /** @throws IMAGES_LAYER_UNGUARDED */
  requireGuarded(folder: string): void;
  /**
   * Returns what is complete of an unguarded layer, as after a power cut just before the end: its file and
   * its blob, or only the blob, from which the file can be written again; undefined: neither.
   */
  complete(
    row: LayerRow,
    verify: () => Promise<readonly string[]>,
    signal: AbortSignal,
  ): Promise<'file' | 'blob' | undefined>;
  /**
   * Makes an ordinary layer of a complete one.
   * @param own replaces its file; running containers keep the earlier file
   */
  finish(row: LayerRow, own?: OwnEncoding): Promise<void>;
  /** Resolves when none of these layers has holes any more. */
  whole(folders: readonly string[], signal: AbortSignal): Promise<void>;
  /** Lets the filler forget the layers for which `isNeeded` returns false. */
  tidy(isNeeded: (folder: string) => boolean): Promise<void>;
  close(): Promise<void>;
}

export interface LazyLayersDeps extends Omit<PublishDeps, 'layers' | 'places' | 'publishing'> {
  readonly publishDeps: () => PublishDeps;
  readonly records: Pick<ImageRecords, 'layer' | 'layers' | 'replaceLayer'>;
  readonly registryOptions: RegistryClientOptions | undefined;
  readonly way: MountWay;
  /** Checks a layer whose state is final or unknown. Called after the store was opened. */
  readonly look: (folder: string) => void;
}

/** Connects to a filler that an earlier run has left. Never fails: unguarded layers are not used. */
export async function openLazyLayers(
  deps: LazyLayersDeps,
  options: LazyOptions | undefined,
): Promise<LazyLayers> {
  const { folders, records, registryOptions, way, log, sync } = deps;
  const hasRows = (): boolean => [...records.layers()].some(({ lazy }) => lazy === true);
  const why = options?.isOn === true ? whyNot() : 'it is not configured';
  const settled = new Map<string, PromiseWithResolvers<void>>();

  function whyNot(): string | undefined {
    if (registryOptions === undefined) return 'this store has no registries';
    if (way.kind !== 'file') return 'the kernel does not mount layer files directly';
    return whyNoPreContentEvents(folders.staging);
  }

  const filler = await connectFiller(deps, options, why);

  function settle(folder: string): void {
    settled.get(folder)?.resolve();
    settled.delete(folder);
  }

  return {
    isOn() {
      return why === undefined && filler.isExpected();
    },
    async guard(rows, index, origin) {
      try {
        await addAll(await filler.started(), rows, index, origin, { folders, registryOptions });
      } catch (thrown) {
        throw unguarded(rows[0]?.folder ?? '', reasonOf(thrown));
      }
    },
    recorded(wanted) {
      for (const folder of wanted)
        if (records.layer(folder)?.lazy === true && filler.client()?.layers.get(folder) !== 'filling')
          deps.look(folder);
    },
    reach: async () => void (await filler.found()),
    state: (folder) => filler.client()?.layers.get(folder),
    requireGuarded(folder) {
      const state = filler.client()?.layers.get(folder);
      if (state === undefined) throw unguarded(folder, 'no filler runs for it');
      if (state === 'refused') throw unguarded(folder, 'the fetched content differs from the signed content');
    },
    async complete(row, verify, signal) {
      const blob = `${folders.layers}/${row.folder}/${lazyBlobName}`;
      if (!(await isWhole(blob, row.blobDigest, signal))) return undefined;
      return (await verify()).length === 0 ? 'file' : 'blob';
    },
    async finish(row, own) {
      const from = `${folders.layers}/${row.folder}/${lazyBlobName}`;
      const move = { kind: 'link', from, to: `${folders.blobs}/${hexOf(row.blobDigest)}` } as const;
      await publish(deps.publishDeps(), [
        { pendingMove: () => move, published: () => undefined, begun: sync.era() },
      ]);
      if (own !== undefined) await putInPlace(deps, row, own);
      const { lazy: _complete, chunksSha256: _filled, ...whole } = row;
      const { staging: _place, ...recorded } = own ?? { staging: undefined };
      await records.replaceLayer({ ...whole, ...recorded });
      await rm(from, { force: true });
      // From here on, the kernel allows every read.
      await filler
        .client()
        ?.forget(row.folder)
        .catch((thrown: unknown) => {
          log.warn({ layer: row.folder, why: reasonOf(thrown) }, 'the filler still guards a complete layer');
        });
      settle(row.folder);
      log.info({ layer: row.folder }, 'a layer that was started lazily is complete');
    },
    async whole(wanted, signal) {
      for (const folder of wanted) {
        if (records.layer(folder)?.lazy !== true) continue;
        const waiting = settled.get(folder) ?? Promise.withResolvers<void>();
        settled.set(folder, waiting);
        await orAborted(waiting.promise, signal);
      }
    },
    async tidy(isNeeded) {
      for (const folder of [...settled.keys()]) if (records.layer(folder)?.lazy !== true) settle(folder);
      for (const folder of [...(filler.client()?.layers.keys() ?? [])])
        if (!isNeeded(folder))
          await filler
            .client()
            ?.forget(folder)
            .catch(() => undefined);
    },
    async close() {
      const wasConnected = await filler.close();
      if (wasConnected && hasRows())
        log.info({}, 'the filler completes the layers that are not complete, without the daemon');
    },
  };
}

/**
 * Connects to the filler that an earlier run has left, and starts one when it is needed.
 * @param why the reason for which no filler may be started; undefined: a filler may be started
 */
async function connectFiller(
  { records, log, look }: Pick<LazyLayersDeps, 'log' | 'look' | 'records'>,
  options: LazyOptions | undefined,
  why: string | undefined,
) {
  let client: FillerClient | undefined;
  let starting: Promise<FillerClient> | undefined;
  let finding: Promise<FillerClient | undefined> | undefined;
  /** Whether the filler of an earlier run may exist: its socket must stay. */
  let mayExist = options !== undefined;
  let isClosed = false;
  /** Until then, the caller cannot look at a layer. It asks for all states afterwards. */
  let isOpen = false;

  const clientDeps = {
    socket: options?.socket ?? '',
    log,
    onStarted: options?.onStarted,
    onState(folder: string, state: LayerState, reason: string) {
      if (state === 'refused')
        log.error(
          { layer: folder, why: reason },
          'a layer is refused: its content differs from the signed content',
        );
      if (isOpen) look(folder);
    },
    onLost() {
      client = undefined;
      if (isClosed) return;
      log.error(
        {},
        'the filler of layers has ended: reads of its incomplete layers fail, and the images of these layers must be pulled again',
      );
      if (isOpen) for (const { folder, lazy } of records.layers()) if (lazy === true) look(folder);
    },
  };

  async function find(): Promise<FillerClient | undefined> {
    try {
      client = await findFiller(clientDeps);
    } catch (thrown) {
      if (errnoOf(thrown) !== undefined) throw thrown;
      log.warn({ why: reasonOf(thrown) }, 'the filler of an earlier run is not used');
    }
    mayExist = false;
    return client;
  }

  /** @throws when the filler of an earlier run cannot be reached now */
  async function found(): Promise<FillerClient | undefined> {
    if (!mayExist) return client;
    finding ??= find().finally(() => (finding = undefined));
    return finding;
  }

  function start(): Promise<FillerClient> {
    starting ??= found()
      .then((earlier) => earlier ?? startFiller(clientDeps))
      .then((started) => (client = started))
      .finally(() => (starting = undefined));
    return starting;
  }

  await found().catch((thrown: unknown) => {
    log.warn(
      { why: reasonOf(thrown) },
      'the filler of an earlier run cannot be reached: its layers are not used until it can',
    );
  });
  if (options?.isOn === true && why !== undefined)
    log.warn({ why }, 'images are not started lazily on this machine');
  let hasFailed = false;
  /** Starts the process early, so that no image has to wait for it. */
  function warm(): void {
    start().then(
      () => (hasFailed = false),
      (thrown: unknown) => {
        hasFailed = true;
        log.warn(
          { why: reasonOf(thrown) },
          'the filler of layers did not start: images are pulled as a whole until it does',
        );
      },
    );
  }
  if (why === undefined && client === undefined) warm();

  isOpen = true;
  return {
    client: () => client,
    found,
    started: async (): Promise<FillerClient> => client ?? (await start()),
    /** Whether a filler runs, or will probably run soon. */
    isExpected(): boolean {
      if (isClosed) return false;
      if (client !== undefined || starting !== undefined) return true;
      const isLikely = !hasFailed;
      warm();
      return isLikely;
    },
    /** @returns whether a filler was connected, which continues without the daemon */
    async close(): Promise<boolean> {
      isClosed = true;
      await starting?.catch(() => undefined);
      client?.close();
      return client !== undefined;
    },
  };
}

/**
 * Puts the file that the node wrote itself in place of the filled file, in one step. The blob stays beside
 * it, so that another attempt can write the file again until the layer is recorded as complete.
 */
async function putInPlace(
  { folders, log, publishDeps }: LazyLayersDeps,
  row: LayerRow,
  { staging }: OwnEncoding,
): Promise<void> {
  log.warn(
    { layer: row.folder },
    'the file of a complete layer differs from its archive, as signed or on the disk: containers that start later get a file with the metadata of the archive',
  );
  const { places, pool, publishing, sync } = publishDeps();
  const place = `${folders.layers}/${row.folder}`;
  const [from, to] = [`${staging}/${layerFileName}`, `${place}/${layerFileName}`];
  await publishing(async () => {
    await sync.flush();
    await pool.publish({ root: folders.root, moves: [{ kind: 'rename', from, to }], folders: [place] });
    places.forget(row.folder);
  });
}

/** Hands the layers that have holes to the filler, in one round trip. */
async function addAll(
  filler: FillerClient,
  rows: readonly LayerRow[],
  index: ChunkIndex,
  origin: BlobOrigin,
  { folders, registryOptions }: Pick<LazyLayersDeps, 'folders' | 'registryOptions'>,
): Promise<void> {
  const added = rows.map(async (row) => {
    if (row.lazy !== true) return;
    const chunks = index.layers.find((layer) => isIndexOf(layer, row));
    if (chunks === undefined) throw new Error('the layer is being filled with another index');
    const folder = `${folders.layers}/${row.folder}`;
    await filler.add({
      folder: row.folder,
      path: `${folder}/${layerFileName}`,
      blobPath: `${folder}/${lazyBlobName}`,
      chunks,
      origin: {
        registry: registryOptions ?? {},
        reference: { registry: origin.reference.registry, repository: origin.reference.repository },
        credentials: origin.credentials,
        places: origin.ordered.map((place) => origin.places.indexOf(place)),
      },
    });
  });
  // All requests have an answer before this function ends: the caller may remove the files.
  const failed = (await Promise.allSettled(added)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/**
 * Whether a layer with holes has the blob, the diff id, the metadata and the chunks of this index. False when
 * an earlier release recorded the layer without its chunks.
 */
export function isIndexOf(
  layer: ChunkIndex['layers'][number],
  row: Pick<LayerRow, 'blobDigest' | 'diffId' | 'manifestSha256' | 'chunksSha256'>,
): boolean {
  return (
    layer.diffId === row.diffId &&
    layer.blob.digest === row.blobDigest &&
    layer.metadataSha256 === row.manifestSha256 &&
    chunksSha256(layer) === row.chunksSha256
  );
}

function unguarded(on: string, why: string): Error {
  return imageError({
    code: 'IMAGES_LAYER_UNGUARDED',
    kind: 'precondition',
    attempted: 'use incomplete layer',
    on,
    why,
    fix: 'pull the image again',
  });
}
