import { randomUUID } from 'node:crypto';
import type { LayerPosition } from './chain-ids.ts';
import { createClaimedLayers } from './claimed-layers.ts';
import type { ClaimedLayer, ClaimedLayers, ClaimedLayersDeps, LayerClaim } from './claimed-layers.ts';
import { hexOf } from './folders.ts';
import { createLayerWithdrawals } from './layer-withdrawals.ts';
import type { LayerWithdrawals } from './layer-withdrawals.ts';
import type { ImageLimits } from './limits/limits.ts';
import type { LayerForm } from './layer-workers/protocol.ts';
import type { OpenRoot } from './layer-roots.ts';
import type { LayerRow } from './stored-image.ts';
import { orAborted } from '../../base/queues/index.ts';
import type { StagedLayer } from './lazy/stage-layer.ts';
import type { UnpackedLayer } from './unpack/unpack-layer.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';

export interface LayerStore extends Pick<LayerWithdrawals, 'withdraw' | 'withdrawing'> {
  /** Claims a layer that is recorded already; undefined when it must be unpacked. */
  claimRecorded(position: LayerPosition): LayerClaim | undefined;
  /** Claims a recorded layer folder; undefined when there is no record of it. */
  claimFolder(folder: string): LayerClaim | undefined;
  /**
   * Unpacks a layer into staging, or joins a pull that is unpacking it.
   * @param lowers claims on the layers below, top-most first; used only by a layer that depends on them
   * @param signal of the pull; its layers take turns with the layers of other pulls
   * @param stage writes the file of a layer that is filled later, instead of unpacking a blob
   */
  unpack(
    position: LayerPosition,
    blob: LayerBlob,
    lowers: readonly Promise<LayerClaim>[],
    signal: AbortSignal,
    stage?: StageLayer,
  ): Promise<LayerClaim>;
  isClaimed(folder: string): boolean;
  /** Makes every claim on a recorded layer invalid: its files are being removed in spite of the claims. */
  lose(folder: string): void;
}

/**
 * Makes the folder of a layer at a path, with a file that has holes. An abort leaves the files that it has
 * written.
 */
export type StageLayer = (staging: string, signal: AbortSignal) => Promise<StagedLayer>;

/** The compressed archive of a layer. */
interface LayerBlob {
  readonly path: string;
  readonly digest: string;
  readonly size: number;
  /** As in `BlobSources`: the layers below come from there, too. A pull does not wait for another place. */
  readonly from: string;
}

interface LayerStoreDeps extends Pick<
  ClaimedLayersDeps,
  'folders' | 'trash' | 'roots' | 'era' | 'recorded' | 'isOwned'
> {
  readonly pool: LayerPool;
  /** The form of new layers. */
  readonly form: LayerForm;
  readonly limits: ImageLimits;
}

export function createLayerStore(deps: LayerStoreDeps): LayerStore {
  const { era, recorded } = deps;
  const withdrawals = createLayerWithdrawals();
  const claimable = (folder: string): LayerRow | undefined =>
    withdrawals.isWithdrawn(folder) ? undefined : recorded(folder);
  const claimed = createClaimedLayers({ ...deps, claimable, withdraw: withdrawals.withdraw });
  return {
    claimRecorded({ diffId, chainId }) {
      for (const folder of new Set([hexOf(diffId), hexOf(chainId)])) {
        const row = claimable(folder);
        if (row === undefined || row.diffId !== diffId || (row.dependent && folder !== hexOf(chainId)))
          continue;
        return claimed.claimOf(claimed.hold(row));
      }
      return undefined;
    },
    claimFolder(folder) {
      const row = claimable(folder);
      return row && claimed.claimOf(claimed.hold(row));
    },
    async unpack(position, blob, lowers, signal, stage) {
      for (;;) {
        signal.throwIfAborted();
        const there = claimed.staged(position.chainId);
        // The record of a layer names the blob from which it was unpacked, and only pulls of that blob keep
        // the blob.
        const known =
          there?.begun === era() &&
          there.blobDigest === blob.digest &&
          there.from === blob.from &&
          there.isLazy === (stage !== undefined)
            ? there
            : undefined;
        const layer = known ?? beginUnpacking(deps, claimed, position, blob, lowers, signal, stage);
        layer.claims++;
        try {
          await orAborted(layer.ready, signal);
          return claimed.claimOf(layer);
        } catch (thrown) {
          await claimed.release(layer);
          if (signal.aborted || known === undefined) throw thrown;
        }
      }
    },
    isClaimed: claimed.isHeld,
    lose: claimed.lose,
    withdraw: withdrawals.withdraw,
    withdrawing: withdrawals.withdrawing,
  };
}

/**
 * Begins to unpack a layer into staging. It has no claim yet; the last claim ends the work.
 * @param group layers of one pull: pulls take turns
 */
function beginUnpacking(
  { folders, pool, trash, form, limits, era }: LayerStoreDeps,
  claimed: ClaimedLayers,
  { diffId, chainId }: LayerPosition,
  blob: LayerBlob,
  lowers: readonly Promise<LayerClaim>[],
  group: object,
  stage: StageLayer | undefined,
): ClaimedLayer {
  const layer: ClaimedLayer = {
    chainId,
    blobDigest: blob.digest,
    from: blob.from,
    isLazy: stage !== undefined,
    path: `${folders.staging}/${hexOf(chainId)}.${randomUUID()}`,
    row: undefined,
    begun: era(),
    state: 'unpacking',
    claims: 0,
    abort: new AbortController(),
    ready: Promise.resolve(),
  };
  const request = { blob: blob.path, staging: layer.path, diffId, lowest: diffId === chainId, limits };
  const opened: OpenRoot[] = [];
  const roots = async (): Promise<readonly string[]> => {
    for (const lower of lowers) opened.push(await (await lower).openRoot());
    return opened.map(({ path }) => path);
  };
  const written: Promise<UnpackedLayer & Partial<StagedLayer>> =
    stage === undefined
      ? pool.unpack(request, roots, { form, signal: layer.abort.signal, group, bytes: blob.size })
      : stage(layer.path, layer.abort.signal);
  layer.ready = written
    .then(
      (unpacked) => {
        layer.row = {
          folder: hexOf(unpacked.dependent ? chainId : diffId),
          form: stage === undefined ? form : 'erofs',
          diffId,
          dependent: unpacked.dependent,
          blobDigest: blob.digest,
          blobSize: blob.size,
          manifestSha256: unpacked.manifestSha256,
          bytes: unpacked.bytes,
          inodes: unpacked.inodes,
          ...(unpacked.verity !== undefined && { verity: unpacked.verity }),
          ...(stage !== undefined && { lazy: true }),
          ...(unpacked.chunksSha256 !== undefined && { chunksSha256: unpacked.chunksSha256 }),
        };
        layer.state = 'staged';
      },
      async (thrown: unknown) => {
        claimed.unstage(layer);
        await trash.discard(layer.path);
        throw thrown;
      },
    )
    // oxlint-disable-next-line typescript/no-misused-promises -- finally waits for the promise
    .finally(() => Promise.all(opened.map((root) => root.close())));
  layer.ready.catch(() => undefined);
  claimed.stage(chainId, layer);
  return layer;
}
