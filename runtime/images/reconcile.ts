import { access, readdir, rm } from 'node:fs/promises';
import { settleInTurn } from '../state/settle.ts';
import type { SettledAct, Unsettled } from '../state/settle.ts';
import type { LayerChecks } from './layer-checks.ts';
import { layerFileName } from './erofs/layer-folder.ts';
import type { LayerRoots } from './layer-roots.ts';
import { isReplaced } from './layer-folders.ts';
import type { SweepDeps } from './sweep.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';

export interface ReconcileDeps extends SweepDeps {
  readonly pool: Pick<LayerPool, 'busy'>;
  readonly checks: Pick<LayerChecks, 'doubt'>;
  readonly roots: Pick<LayerRoots, 'forget' | 'isUsable'>;
  readonly sweep: () => Promise<void>;
}

/**
 * Makes disk and records agree: removes everything that no record claims. Does not read recorded content, so
 * that a start does not wait for it. An item that cannot be removed does not prevent the removal of others.
 * @returns the items that remain, and why
 */
export function reconcileStore(
  deps: ReconcileDeps,
  valid: ReadonlySet<string>,
): Promise<readonly Unsettled[]> {
  const { folders, trash, rootfs, records, layers, blobs, roots } = deps;
  const eachIn = (folder: string, act: (name: string) => Promise<void>): SettledAct => ({
    on: folder,
    act: async () =>
      settleInTurn(
        (await readdir(folder)).map((name) => ({ on: `${folder}/${name}`, act: () => act(name) })),
      ),
  });
  // One after another: layers are in use as long as a root file system uses them, and blobs as long as a
  // layer needs them.
  return settleInTurn([
    {
      on: folders.rootfs,
      act: () => {
        const left = rootfs.known().filter((id) => !valid.has(id));
        return settleInTurn(
          left.map((id) => ({ on: `${folders.rootfs}/${id}`, act: () => rootfs.remove(id) })),
        );
      },
    },
    { on: folders.trash, act: () => trash.empty() },
    eachIn(folders.ingest, async (name) => {
      // Claimed by a pull of this run: the names of its files contain the id of this process.
      if (!name.includes(`.${process.pid}.`) || !blobs.isClaimed(`sha256:${name.slice(0, 64)}`))
        await rm(`${folders.ingest}/${name}`, { force: true });
    }),
    eachIn(folders.staging, async (name) => {
      if (!deps.pool.busy()) await trash.discard(`${folders.staging}/${name}`);
    }),
    eachIn(folders.layers, async (name) => {
      if (
        records.layer(name) === undefined &&
        !layers.isClaimed(name) &&
        !rootfs.uses(name) &&
        !isReplaced(name)
      )
        await trash.discard(`${folders.layers}/${name}`);
    }),
    {
      on: folders.layers,
      act: async () => {
        for (const { folder, form } of records.layers()) {
          // Missing, unreadable, or in a form that cannot be used: restored from its blob before it is used.
          const content = `${folders.layers}/${folder}/${form === 'erofs' ? layerFileName : 'fs'}`;
          const isThere = await access(content).then(
            () => true,
            () => false,
          );
          if (!isThere || !roots.isUsable({ form })) deps.checks.doubt(folder);
        }
        await deps.sweep();
      },
    },
    eachIn(folders.blobs, (name) => blobs.dropUnowned(`sha256:${name}`)),
  ]);
}
