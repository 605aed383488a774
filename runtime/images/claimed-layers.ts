import type { StoreFolders } from './folders.ts';
import { imageError } from './limits/failures.ts';
import type { LayerRoots, OpenRoot } from './layer-roots.ts';
import type { LayerWithdrawals } from './layer-withdrawals.ts';
import type { LayerRow } from './stored-image.ts';
import type { Trash } from './trash.ts';
import type { Move } from './layer-workers/protocol.ts';

/** The claim of one pull on one unpacked layer: the folder stays as long as a claim exists. */
export interface LayerClaim {
  row(): LayerRow;
  pendingMove(): Move | undefined;
  published(): void;
  /** The store's era before its first byte was written. */
  readonly begun: number;
  /** Whether a power cut may remove it: its file has holes, and is lost then in any case. */
  isTransient(): boolean;
  /**
   * Checks that the layer is still what was claimed: its files may have been lost since, together with the
   * images that had it. Call it in the event loop turn that relies on the layer.
   * @throws IMAGES_STORE_FAILED (unavailable)
   */
  requirePresent(): void;
  release(): Promise<void>;
  /**
   * Opens the layer's root, through a path that stays valid while the folder moves; close it after use.
   */
  openRoot(): Promise<OpenRoot>;
}

/** A layer on which pulls have claims, or that is being unpacked for one. */
export interface ClaimedLayer {
  /** Its name among the unpacked or staged layers; absent: it was recorded already. */
  readonly chainId?: string;
  /** Digest of the blob from which it is unpacked; absent: it was recorded already. */
  readonly blobDigest?: string;
  /** Where its blob and the layers below come from; absent: it was recorded already. */
  readonly from?: string;
  /** Its file is filled later: only pulls that expect this join. Absent: it was recorded already. */
  readonly isLazy?: boolean;
  path: string;
  row: LayerRow | undefined;
  readonly begun: number;
  /** `lost`: its files were damaged and are gone. Files at its place now belong to another layer. */
  state: 'unpacking' | 'staged' | 'published' | 'lost';
  claims: number;
  readonly abort: AbortController;
  ready: Promise<void>;
}

/** Dependencies of the claims on layers. */
export interface ClaimedLayersDeps {
  readonly folders: StoreFolders;
  readonly trash: Trash;
  readonly roots: Pick<LayerRoots, 'open' | 'forget'>;
  /** Grows when the disk has lost writes: no pull joins work that began in an earlier era. */
  readonly era: () => number;
  /** Returns the row of a recorded layer folder. */
  readonly recorded: (folder: string) => LayerRow | undefined;
  /** Returns the row of a recorded layer folder that is not being removed. */
  readonly claimable: (folder: string) => LayerRow | undefined;
  /** Whether an image or a container uses the folder. */
  readonly isOwned: (folder: string) => boolean;
  /** Runs a removal; no pull publishes at the places of these folders until it has ended. */
  readonly withdraw: LayerWithdrawals['withdraw'];
}

/**
 * The layers with claims. The last claim on a layer ends its unpacking, and removes its folder if nothing
 * owns it.
 */
export interface ClaimedLayers {
  /** Returns the layer that is being unpacked or staged under a chain id. */
  staged(chainId: string): ClaimedLayer | undefined;
  /** Adds a layer that is being unpacked; a later one takes the place of an earlier one with its chain id. */
  stage(chainId: string, layer: ClaimedLayer): void;
  /** Removes the layer from those that other pulls can join; absent: success. */
  unstage(layer: ClaimedLayer): void;
  /** Returns a recorded layer with one more claim. */
  hold(row: LayerRow): ClaimedLayer;
  isHeld(folder: string): boolean;
  /** Makes every claim on a recorded layer invalid: its files are being removed in spite of the claims. */
  lose(folder: string): void;
  /** Returns the claim that its layer has counted already. */
  claimOf(layer: ClaimedLayer): LayerClaim;
  release(layer: ClaimedLayer): Promise<void>;
}

export function createClaimedLayers({
  folders,
  trash,
  roots,
  era,
  recorded,
  claimable,
  isOwned,
  withdraw,
}: ClaimedLayersDeps): ClaimedLayers {
  /** Layers being unpacked or staged, by chain id; recorded layers in use, by folder. */
  const staged = new Map<string, ClaimedLayer>();
  const held = new Map<string, ClaimedLayer>();

  function unstage(layer: ClaimedLayer): void {
    if (layer.chainId !== undefined && staged.get(layer.chainId) === layer) staged.delete(layer.chainId);
  }

  async function release(layer: ClaimedLayer): Promise<void> {
    layer.claims--;
    if (layer.claims > 0 || layer.state === 'lost') return;
    // Under its own name, because the last claim may belong to a pull with other layers below this one.
    unstage(layer);
    const folder = layer.row?.folder;
    if (folder !== undefined && held.get(folder) === layer) held.delete(folder);
    if (layer.state === 'published' && folder !== undefined && isOwned(folder)) return;
    layer.abort.abort(new Error('no pull needs the layer any more'));
    if (layer.state === 'published') {
      // A published layer that has a row is removed with its row, by the sweep.
      if (folder === undefined || recorded(folder) !== undefined) return;
      roots.forget(folder);
      // In the event loop turn in which it became free: another pull may unpack the layer again, and must not
      // publish it before the slow removal of this one.
      await withdraw([folder], () => trash.discard(layer.path));
      return;
    }
    await layer.ready.catch(() => undefined);
    await trash.discard(layer.path);
  }

  function hold(row: LayerRow): ClaimedLayer {
    let layer = held.get(row.folder);
    if (layer === undefined) {
      layer = recordedLayer(row, `${folders.layers}/${row.folder}`, era());
      held.set(row.folder, layer);
    }
    layer.claims++;
    return layer;
  }

  function lose(folder: string): void {
    const layer = held.get(folder);
    if (layer === undefined) return;
    layer.state = 'lost';
    held.delete(folder);
  }

  function claimOf(layer: ClaimedLayer): LayerClaim {
    let holding = true;
    /**
     * Two pulls may unpack one independent layer with different layers below it: the first pull to publish
     * moves it to its place, and the other pull claims that copy too.
     */
    let twin: ClaimedLayer | undefined;
    const requirePresent = (): void => {
      for (const each of [layer, twin]) if (each?.state === 'lost') throw lostLayer(rowOf(each));
    };
    return {
      row: () => rowOf(layer),
      begun: layer.begun,
      isTransient: () => layer.isLazy === true,
      requirePresent,
      pendingMove() {
        requirePresent();
        if (layer.state === 'published' || twin !== undefined) return undefined;
        const { folder } = rowOf(layer);
        const existing = held.get(folder)?.row ?? claimable(folder);
        if (existing === undefined)
          return { kind: 'rename', from: layer.path, to: `${folders.layers}/${folder}` };
        requireSameForm(existing, rowOf(layer));
        twin = hold(existing);
        return undefined;
      },
      published() {
        if (layer.state !== 'staged' || twin !== undefined) return;
        const { folder } = rowOf(layer);
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
      openRoot: () => roots.open([layer.path, `${folders.layers}/${rowOf(layer).folder}`], rowOf(layer)),
    };
  }

  return {
    staged: (chainId) => staged.get(chainId),
    stage: (chainId, layer) => void staged.set(chainId, layer),
    unstage,
    hold,
    isHeld: (folder) => held.has(folder),
    lose,
    claimOf,
    release,
  };
}

function recordedLayer(row: LayerRow, path: string, begun: ClaimedLayer['begun']): ClaimedLayer {
  return {
    path,
    row,
    begun,
    state: 'published',
    claims: 0,
    abort: new AbortController(),
    ready: Promise.resolve(),
  };
}

/**
 * A row must never say that a file with holes is whole, nor the other way round. Files from two indexes may
 * differ in the metadata and the chunks that their publishers signed.
 */
function requireSameForm(existing: LayerRow, { folder, lazy, manifestSha256, chunksSha256 }: LayerRow): void {
  const isSameIndex = existing.manifestSha256 === manifestSha256 && existing.chunksSha256 === chunksSha256;
  if (existing.lazy !== lazy || (lazy === true && !isSameIndex)) throw otherForm(folder);
}

function lostLayer({ folder }: LayerRow): Error {
  return imageError({
    code: 'IMAGES_STORE_FAILED',
    kind: 'unavailable',
    attempted: 'use layer',
    on: folder,
    why: 'its files were damaged and could not be restored, so they were removed with the images that had it',
    fix: 'pull again',
  });
}

function otherForm(folder: string): Error {
  return imageError({
    code: 'IMAGES_STORE_FAILED',
    kind: 'unavailable',
    attempted: 'use layer',
    on: folder,
    why: 'another pull stored the layer at the same time in another form (lazy or complete), or with another chunk index',
    fix: 'pull again',
  });
}

function rowOf(layer: ClaimedLayer): LayerRow {
  if (layer.row === undefined) throw new Error('the layer is not unpacked');
  return layer.row;
}
