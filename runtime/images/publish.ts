import { rename, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { errnoOf } from './limits/failures.ts';
import type { StoreFolders } from './folders.ts';
import type { LayerPlaces } from './layer-folders.ts';
import type { LayerStore } from './layers.ts';
import type { SerialQueue } from '../../base/queues/index.ts';
import { notDurable } from './store-sync.ts';
import type { StoreSync } from './store-sync.ts';
import type { Move } from './layer-workers/protocol.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';

/** Content to be published: of a pull, or of a layer that is restored. */
export interface Staged {
  /** Returns the move to its place; undefined when it, or equal content, is there already. */
  pendingMove(): Move | undefined;
  /** Reports that the move is done and durable. */
  published(): void;
  /** The {@link StoreSync.era} before its first byte was written. */
  readonly begun: number;
  /**
   * Whether its loss by a power cut is provided for: a layer with holes is lost then in any case. Nothing
   * waits for the disk on its account.
   */
  isTransient?(): boolean;
}

export interface PublishDeps {
  readonly folders: StoreFolders;
  readonly pool: Pick<LayerPool, 'publish'>;
  readonly layers: Pick<LayerStore, 'withdrawing'>;
  readonly places: LayerPlaces;
  readonly sync: StoreSync;
  /** One publication at a time: two pulls may share the content that they publish. */
  readonly publishing: SerialQueue;
  readonly log: Logger;
}

/**
 * Makes staged content durable and moves all of it to its place, or none of it: after a failure everything is
 * staged again. Content that is transient is only moved.
 */
export function publish(deps: PublishDeps, claims: readonly Staged[]): Promise<void> {
  return deps.publishing(() => publishInTurn(deps, claims));
}

async function publishInTurn(deps: PublishDeps, claims: readonly Staged[]): Promise<void> {
  const { folders, layers, places, pool, sync } = deps;
  // A place from which a layer is being removed is not free yet: the folder there is not a published layer.
  for (let removal = layers.withdrawing(); removal !== undefined; removal = layers.withdrawing())
    await removal;
  const moves: Move[] = [];
  let isTransient = true;
  // An image may have one layer twice: the first copy is published, and the second is not.
  const twins: Staged[] = [];
  for (const claim of claims) {
    const move = claim.pendingMove();
    if (move === undefined) continue;
    if (moves.some(({ to }) => to === move.to)) {
      twins.push(claim);
      continue;
    }
    if (claim.begun !== sync.era())
      throw notDurable(folders.root, 'the disk lost writes while the content was being stored');
    moves.push(move);
    isTransient &&= claim.isTransient?.() === true;
  }
  if (moves.length === 0) return;
  if (!isTransient) await sync.flush();
  // A folder that already has the layer's name has no record, or is damaged.
  for (const { kind, to } of moves) if (kind === 'rename') await places.vacate(basename(to));
  try {
    const changed = isTransient ? [] : [folders.blobs, folders.layers];
    await pool.publish({ root: folders.root, moves, folders: changed });
  } catch (thrown) {
    for (const move of moves) await takeBack(move, deps.log);
    throw thrown;
  }
  for (const claim of claims) if (!twins.includes(claim)) claim.published();
  // Each twin finds the copy that was just published at its place, and claims it.
  for (const twin of twins) twin.pendingMove();
}

/**
 * Undoes a move that may have taken effect. Other pulls may have claims on the moved content: it is staged
 * again, and removed with the last claim.
 */
async function takeBack({ kind, from, to }: Move, log: Logger): Promise<void> {
  try {
    await (kind === 'link' ? rm(to, { force: true }) : rename(to, from));
  } catch (thrown) {
    if (errnoOf(thrown) === 'ENOENT') return;
    log.warn(
      { path: to, error: reasonOf(thrown) },
      'content whose publication failed could not be moved back; the next start removes it',
    );
  }
}
