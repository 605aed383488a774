import { readdir, writeFile } from 'node:fs/promises';
import { isMountpoint } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { createKeyedQueue } from '../../base/queues/index.ts';
import { makeFolder } from '../../base/storage/index.ts';
import { errnoOf, wrapImageError } from './limits/failures.ts';
import type { StoreFolders } from './folders.ts';
import { joined, mayHold, readLayerList } from './layer-list.ts';
import type { LayerList } from './layer-list.ts';
import type { LayerRoots } from './layer-roots.ts';
import { dropMappedLayers, overlayLayers, unmountAt } from './mapped-layers.ts';
import type { RootfsStore } from './rootfs.ts';
import type { Trash } from './trash.ts';
import type { LayerMapping } from './types.ts';

/**
 * Images mounted as volumes: the layers of each as one read-only tree, with one mount for each container and
 * image.
 */
export interface VolumeStore {
  /**
   * @param index the image's number among the volumes of its container
   * @param layers layer folders, lowest first
   * @param mapping of a container with a user namespace: the files then belong to the users inside
   * @returns the path of the mounted tree
   */
  mount(
    containerId: string,
    index: number,
    imageId: string,
    layers: readonly string[],
    mapping?: LayerMapping,
  ): Promise<string>;
  /** Unmounts and removes every volume of a container; none: success. */
  remove(containerId: string): Promise<void>;
  /** Whether a volume uses the layer folder. */
  uses(folder: string): boolean;
  /** Returns the containers that have volumes on disk, from this run or an earlier one. */
  known(): readonly string[];
}

/**
 * Reads the volumes of earlier runs: `<container>/<index>/layers.json` lists the layers that a volume uses.
 */
export async function openVolumeStore(
  folders: StoreFolders,
  kernel: Kernel,
  roots: Pick<LayerRoots, 'use' | 'areFolders'>,
  trash: Trash,
  log: Logger,
): Promise<VolumeStore> {
  /** By container: the layer folders of all its volumes. */
  const held = new Map<string, LayerList>();
  const { run: inTurn } = createKeyedQueue();
  for (const id of await readdir(folders.volumes))
    held.set(id, await heldBy(`${folders.volumes}/${id}`, log));

  return {
    async mount(id, index, imageId, layers, mapping) {
      // Before the first await: the image may be removed at any moment, and its layers must stay.
      held.set(id, held.has(id) ? joined(held.get(id), layers) : layers);
      const folder = `${folders.volumes}/${id}/${index}`;
      const tree = `${folder}/tree`;
      return inTurn(id, async () => {
        try {
          if (isMountpoint(tree)) {
            // An earlier run may have been killed before it removed them.
            if (mapping !== undefined) await dropMappedLayers(kernel, folder);
            return tree;
          }
          await makeFolder(tree);
          await writeFile(`${folder}/layers.json`, JSON.stringify({ imageId, layers }), { mode: 0o600 });
          const overlay = (lower: readonly string[]): Promise<void> =>
            kernel.mountOverlay({ lower, target: tree });
          await roots.use([...layers].reverse(), async (lower) => {
            await overlayLayers(
              { kernel, folders, roots, folder },
              mapping?.userNamespace,
              layers,
              lower,
              overlay,
            );
          });
          return tree;
        } catch (thrown) {
          throw wrapImageError(thrown, {
            code: 'IMAGES_VOLUME_FAILED',
            kind: 'internal',
            attempted: 'mount image as volume',
            on: imageId,
            fix: 'see the reason; portcullis doctor checks overlayfs',
          });
        }
      });
    },
    remove: (id) =>
      inTurn(id, async () => {
        if (!held.has(id)) return;
        const folder = `${folders.volumes}/${id}`;
        // Only a missing folder means that nothing is mounted. After any other failure, such as a lack of
        // descriptors, nothing is removed.
        for (const index of await readdir(folder).catch(noneIfAbsent)) {
          await dropMappedLayers(kernel, `${folder}/${index}`);
          await unmountAt(kernel, `${folder}/${index}/tree`);
        }
        await trash.discard(folder);
        held.delete(id);
      }),
    uses(folder) {
      for (const list of held.values()) if (mayHold(list, folder)) return true;
      return false;
    },
    known: () => [...held.keys()],
  };
}

/** Combines containers' root file systems and their volumes, so that they are held and released together. */
export function withVolumes(rootfs: RootfsStore, volumes: VolumeStore): RootfsStore {
  return {
    mount: (...input) => rootfs.mount(...input),
    remove: async (id) => {
      await volumes.remove(id);
      await rootfs.remove(id);
    },
    uses: (folder) => rootfs.uses(folder) || volumes.uses(folder),
    known: () => [...new Set([...rootfs.known(), ...volumes.known()])],
  };
}

/** A file in place of the folder has no volumes, and is removed with everything that no container claims. */
function noneIfAbsent(thrown: unknown): readonly string[] {
  if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR') return [];
  throw thrown;
}

async function heldBy(folder: string, log: Logger): Promise<LayerList> {
  let all: LayerList = [];
  for (const index of await readdir(folder).catch(noneIfAbsent))
    all = joined(all, await readLayerList(`${folder}/${index}`, log));
  return all;
}
