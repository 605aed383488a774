import { hash, randomUUID } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { errnoOf } from './failures.ts';
import { hexOf } from './folders.ts';
import type { StoreFolders } from './folders.ts';
import type { ImageLimits } from './limits.ts';
import type { LayerRow } from './records.ts';
import { orAborted } from './serial.ts';
import type { Trash } from './trash.ts';
import type { Move } from './unpack/protocol.ts';
import type { UnpackPool } from './unpack/unpack-pool.ts';

/** One layer of one image: its content, and the layers below it. */
export interface LayerPosition {
  readonly diffId: string;
  /** Identifies the layer with everything below it (image-spec, config.md, "Layer ChainID"). */
  readonly chainId: string;
}

/** The claim of one pull on one unpacked layer: the folder stays as long as a claim exists. */
export interface LayerClaim {
  row(): LayerRow;
  pendingMove(): Move | undefined;
  published(): void;
  /** The store's era before its first byte was written. */
  readonly begun: number;
  release(): Promise<void>;
  /**
   * Opens the layer's root, through a path that stays valid while the folder moves; close the handle after
   * use.
   */
  openRoot(): Promise<FileHandle>;
}

export interface LayerStore {
  /** Claims a layer that is recorded already; undefined when it must be unpacked. */
  claimRecorded(position: LayerPosition): LayerClaim | undefined;
  /** Claims a recorded layer folder; undefined when there is no record of it. */
  claimFolder(folder: string): LayerClaim | undefined;
  /**
   * Unpacks a layer into staging, or joins a pull that is unpacking it.
   * @param lowers claims on the layers below, top-most first; used only by a layer that depends on them
   * @param signal of the pull; its layers take turns with the layers of other pulls
   */
  unpack(
    position: LayerPosition,
    blob: { readonly path: string; readonly digest: string; readonly size: number },
    lowers: readonly Promise<LayerClaim>[],
    signal: AbortSignal,
  ): Promise<LayerClaim>;
  isClaimed(folder: string): boolean;
  /**
   * Keeps recorded folders from every new claim while `remove` removes them, rows and files. Call it in the
   * same event loop turn in which they were found to have no owner and no claim: a later pull unpacks the
   * layer again.
   */
  withdraw(folders: readonly string[], remove: () => Promise<void>): Promise<void>;
  /**
   * Resolves, and never rejects, when the pending removals end; undefined when there is none. Until then
   * their places are not free.
   */
  withdrawing(): Promise<unknown> | undefined;
}

interface ClaimedLayer {
  /** Its name among the unpacked or staged layers; absent: it was recorded already. */
  readonly chainId?: string;
  path: string;
  row: LayerRow | undefined;
  readonly begun: number;
  state: 'unpacking' | 'staged' | 'published';
  claims: number;
  readonly abort: AbortController;
  ready: Promise<void>;
}

export function chainIds(diffIds: readonly string[]): LayerPosition[] {
  let chain = '';
  return diffIds.map((diffId) => {
    chain = chain === '' ? diffId : `sha256:${hash('sha256', `${chain} ${diffId}`, 'hex')}`;
    return { diffId, chainId: chain };
  });
}

/**
 * @param era grows when the disk has lost writes: no pull joins work that began in an earlier era
 * @param recorded the row of a recorded layer folder
 * @param isOwned whether an image or a container uses the folder
 */
export function createLayerStore(options: {
  readonly folders: StoreFolders;
  readonly pool: UnpackPool;
  readonly trash: Trash;
  readonly limits: ImageLimits;
  readonly era: () => number;
  readonly recorded: (folder: string) => LayerRow | undefined;
  readonly isOwned: (folder: string) => boolean;
}): LayerStore {
  const { folders, pool, trash, limits, era, recorded, isOwned } = options;
  /** Layers being unpacked or staged, by chain id; recorded layers in use, by folder. */
  const staged = new Map<string, ClaimedLayer>();
  const held = new Map<string, ClaimedLayer>();
  /** Recorded folders that are being removed. */
  const withdrawn = new Set<string>();
  const removals = new Set<Promise<void>>();
  const claimable = (folder: string): LayerRow | undefined => (withdrawn.has(folder) ? undefined : recorded(folder));

  function begin(
    position: LayerPosition,
    blob: { readonly path: string; readonly digest: string; readonly size: number },
    lowers: readonly Promise<LayerClaim>[],
    group: object,
  ): ClaimedLayer {
    const layer: ClaimedLayer = {
      chainId: position.chainId,
      path: `${folders.staging}/${hexOf(position.chainId)}.${randomUUID()}`,
      row: undefined,
      begun: era(),
      state: 'unpacking',
      claims: 0,
      abort: new AbortController(),
      ready: Promise.resolve(),
    };
    const { diffId, chainId } = position;
    const request = { blob: blob.path, staging: layer.path, diffId, lowest: diffId === chainId, limits };
    const handles: FileHandle[] = [];
    const roots = async (): Promise<readonly string[]> => {
      for (const lower of lowers) handles.push(await (await lower).openRoot());
      // A Worker shares the descriptors of the process: such a path stays valid while another pull publishes
      // the folder.
      return handles.map((handle) => `/proc/self/fd/${handle.fd}`);
    };
    layer.ready = pool
      .unpack(request, roots, { signal: layer.abort.signal, group })
      .then(
        (unpacked) => {
          layer.row = {
            folder: hexOf(unpacked.dependent ? chainId : diffId),
            diffId,
            dependent: unpacked.dependent,
            blobDigest: blob.digest,
            blobSize: blob.size,
            manifestSha256: unpacked.manifestSha256,
            bytes: unpacked.bytes,
            inodes: unpacked.inodes,
          };
          layer.state = 'staged';
        },
        async (thrown: unknown) => {
          if (staged.get(chainId) === layer) staged.delete(chainId);
          await trash.discard(layer.path);
          throw thrown;
        },
      )
      .finally(() => Promise.all(handles.map((handle) => handle.close())));
    layer.ready.catch(() => undefined);
    staged.set(chainId, layer);
    return layer;
  }

  async function release(layer: ClaimedLayer): Promise<void> {
    layer.claims--;
    if (layer.claims > 0) return;
    // Under its own name, because the last claim may belong to a pull with other layers below this one.
    if (layer.chainId !== undefined && staged.get(layer.chainId) === layer) staged.delete(layer.chainId);
    const folder = layer.row?.folder;
    if (folder !== undefined && held.get(folder) === layer) held.delete(folder);
    if (layer.state === 'published' && folder !== undefined && isOwned(folder)) return;
    layer.abort.abort(new Error('no pull needs the layer any more'));
    await layer.ready.catch(() => undefined);
    // A published layer that has a row is removed with its row, by the sweep.
    if (layer.state !== 'published' || (folder !== undefined && recorded(folder) === undefined)) await trash.discard(layer.path);
  }

  function hold(row: LayerRow): ClaimedLayer {
    let layer = held.get(row.folder);
    if (layer === undefined) {
      layer = {
        path: `${folders.layers}/${row.folder}`,
        row,
        begun: era(),
        state: 'published',
        claims: 0,
        abort: new AbortController(),
        ready: Promise.resolve(),
      };
      held.set(row.folder, layer);
    }
    layer.claims++;
    return layer;
  }

  function claimOf(layer: ClaimedLayer): LayerClaim {
    let holding = true;
    /**
     * Two pulls may unpack one independent layer with different layers below it: the first pull to publish
     * moves it to its place, and the other pull claims that copy too.
     */
    let twin: ClaimedLayer | undefined;
    const row = (): LayerRow => {
      if (layer.row === undefined) throw new Error('the layer is not unpacked');
      return layer.row;
    };
    return {
      row,
      begun: layer.begun,
      pendingMove() {
        if (layer.state === 'published' || twin !== undefined) return undefined;
        const { folder } = row();
        const existing = held.get(folder)?.row ?? claimable(folder);
        if (existing === undefined) return { kind: 'rename', from: layer.path, to: `${folders.layers}/${folder}` };
        twin = hold(existing);
        return undefined;
      },
      published() {
        if (layer.state === 'published' || twin !== undefined) return;
        const { folder } = row();
        layer.state = 'published';
        layer.path = `${folders.layers}/${folder}`;
        held.set(folder, layer);
      },
      async release() {
        if (!holding) return;
        holding = false;
        await release(layer);
        if (twin !== undefined) await release(twin);
      },
      async openRoot() {
        for (let attempt = 1; ; attempt++) {
          try {
            return await open(`${layer.path}/fs`, 'r');
          } catch (thrown) {
            if (errnoOf(thrown) !== 'ENOENT' || attempt === 20) throw thrown;
          }
          // A Worker publishes it: the layer is in its new place before this thread knows it, for as long as
          // the disk takes to sync.
          const moved = layer.row && (await open(`${folders.layers}/${layer.row.folder}/fs`, 'r').catch(unlessMissing));
          if (moved !== undefined) return moved;
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      },
    };
  }

  return {
    claimRecorded({ diffId, chainId }) {
      for (const folder of new Set([hexOf(diffId), hexOf(chainId)])) {
        const row = claimable(folder);
        if (row === undefined || row.diffId !== diffId || (row.dependent && folder !== hexOf(chainId))) continue;
        return claimOf(hold(row));
      }
      return undefined;
    },
    claimFolder(folder) {
      const row = claimable(folder);
      return row && claimOf(hold(row));
    },
    async unpack(position, blob, lowers, signal) {
      for (;;) {
        signal.throwIfAborted();
        const there = staged.get(position.chainId);
        const known = there?.begun === era() ? there : undefined;
        const layer = known ?? begin(position, blob, lowers, signal);
        layer.claims++;
        try {
          await orAborted(layer.ready, signal);
          return claimOf(layer);
        } catch (thrown) {
          await release(layer);
          if (signal.aborted || known === undefined) throw thrown;
        }
      }
    },
    isClaimed: (folder) => held.has(folder),
    async withdraw(gone, remove) {
      for (const folder of gone) withdrawn.add(folder);
      const removal = remove();
      removals.add(removal);
      try {
        await removal;
      } finally {
        removals.delete(removal);
        for (const folder of gone) withdrawn.delete(folder);
      }
    },
    withdrawing: () => (removals.size === 0 ? undefined : Promise.allSettled(removals)),
  };
}

function unlessMissing(thrown: unknown): undefined {
  if (errnoOf(thrown) !== 'ENOENT') throw thrown;
}
