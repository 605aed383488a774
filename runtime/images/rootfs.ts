import { lstatSync } from 'node:fs';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { attempt } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { MNT_DETACH, isMountpoint, isOnOverlay } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { createKeyedQueue } from '../../base/queues/index.ts';
import { makeFolder } from '../../base/storage/index.ts';
import { errnoOf, imageError, wrapImageError } from './limits/failures.ts';
import type { StoreFolders } from './folders.ts';
import { joined, mayHold, noList, readLayerList } from './layer-list.ts';
import type { LayerList } from './layer-list.ts';
import type { LayerRoots } from './layer-roots.ts';
import {
  dropMappedLayers,
  makeMappedRoot,
  mappedId,
  mappedIds,
  mappedRootIn,
  removeMappedRoot,
  overlayLayers,
} from './mapped-layers.ts';
import type { MappedRoots } from './mapped-layers.ts';
import { settleAll } from '../state/settle.ts';
import type { Trash } from './trash.ts';
import type { LayerMapping, Rootfs } from './types.ts';

/** Writable layers and overlay mounts of containers. */
export interface RootfsStore {
  /**
   * @param layers layer folders, lowest first
   * @param mapping of a container with a user namespace
   * @param context SELinux context of its files
   */
  mount(
    containerId: string,
    imageId: string,
    layers: readonly string[],
    mapping?: LayerMapping,
    context?: string,
  ): Promise<Rootfs>;
  remove(containerId: string): Promise<void>;
  /** Whether the overlay of a container uses the layer folder. */
  uses(folder: string): boolean;
  /** Returns the containers that have a writable layer on disk, from this run or an earlier one. */
  known(): readonly string[];
}

/**
 * Names that a runtime writes to or mounts on: a symlink there leads outside the container (CVE-2026-41579,
 * CVE-2026-47766, CVE-2024-5154).
 */
const plainFolders = ['dev', 'proc', 'sys', 'etc'];
const idPattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** Dependencies of the mounts of containers. */
interface RootfsDeps {
  readonly folders: StoreFolders;
  readonly mappedRoots: MappedRoots;
  readonly kernel: Kernel;
  readonly roots: Pick<LayerRoots, 'use' | 'areFolders'>;
}

/** One container's root file system. */
interface RootfsRequest {
  readonly id: string;
  readonly imageId: string;
  /** Layer folders, lowest first. */
  readonly layers: readonly string[];
  readonly mapping: LayerMapping | undefined;
  readonly context: string | undefined;
}

/** Reads the layers of earlier runs: `<id>/layers.json` lists the layers that a container uses. */
export async function openRootfsStore(
  folders: StoreFolders,
  mappedRoots: MappedRoots,
  kernel: Kernel,
  roots: RootfsDeps['roots'],
  trash: Trash,
  log: Logger,
): Promise<RootfsStore> {
  const deps: RootfsDeps = { folders, mappedRoots, kernel, roots };
  const held = new Map<string, LayerList>();
  const { run: inTurn } = createKeyedQueue();
  /**
   * Containers that were interrupted before their lists were written: the layers below their mounts are
   * unknown.
   */
  const unlisted = new Set<string>();
  for (const id of await readdir(folders.rootfs)) {
    const list = await readLayerList(`${folders.rootfs}/${id}`, log);
    if (list === noList) unlisted.add(id);
    held.set(id, list === noList && isMounted(mappedRoots, folders, id) ? undefined : list);
  }
  // A power loss may have undone the removal of a root file system, but not the removal of its mount point.
  for (const id of await mappedIds(mappedRoots)) {
    if (held.has(id) || !idPattern.test(id)) continue;
    held.set(id, isMounted(mappedRoots, folders, id) ? undefined : []);
    unlisted.add(id);
  }

  async function remove(id: string): Promise<void> {
    const folder = folderOf(folders, id);
    await dropMappedLayers(kernel, folder);
    await removeMappedRoot(kernel, mappedRoots, id);
    try {
      if (isMountpoint(`${folder}/merged`)) await kernel.umount(`${folder}/merged`, MNT_DETACH);
    } catch (thrown) {
      if (errnoOf(thrown) !== 'ENOENT' && errnoOf(thrown) !== 'EINVAL') throw thrown;
    }
    await trash.discard(folder);
    held.delete(id);
    unlisted.delete(id);
  }

  return {
    async mount(id, imageId, layers, mapping, context) {
      folderOf(folders, id);
      // Before the first await: the image may be removed at any moment, and its layers must stay. An earlier
      // run may have been killed before it wrote the list of these layers.
      held.set(id, held.has(id) ? joined(held.get(id), layers) : layers);
      return inTurn(id, async () => {
        try {
          if (unlisted.has(id)) {
            await remove(id);
            held.set(id, layers);
          }
          return await mountOverlay(deps, { id, imageId, layers, mapping, context });
        } catch (thrown) {
          await remove(id).catch((error: unknown) => {
            log.warn(
              { container: id, error: String(error) },
              'a root file system that failed could not be removed',
            );
          });
          throw wrapImageError(thrown, {
            code: 'IMAGES_ROOTFS_FAILED',
            kind: 'internal',
            attempted: 'mount root file system of container',
            on: id,
            fix: 'see the reason; portcullis doctor checks overlayfs',
          });
        }
      });
    },
    remove: (id) => inTurn(id, () => remove(id)),
    uses(folder) {
      for (const list of held.values()) if (mayHold(list, folder)) return true;
      return false;
    },
    known: () => [...held.keys()],
  };
}

/** Mounts the overlay and writes the list of its layers. Returns the same result if it is already mounted. */
async function mountOverlay(
  { folders, mappedRoots, kernel, roots }: RootfsDeps,
  { id, imageId, layers, mapping, context }: RootfsRequest,
): Promise<Rootfs> {
  const folder = folderOf(folders, id);
  const path =
    mapping === undefined ? `${folder}/merged` : await makeMappedRoot(mappedRoots, id, mapping.gids.hostId);
  const rootfs: Rootfs = { path, upper: `${folder}/upper` };
  if (isMountpoint(rootfs.path)) {
    // An earlier run may have been killed before it removed them.
    if (mapping !== undefined) await dropMappedLayers(kernel, folder);
    return rootfs;
  }
  const mountTree = async (lower: readonly string[]): Promise<void> => {
    const root = await stat(lower[0] ?? folders.empty);
    const make = {
      uid: mapping === undefined ? root.uid : mappedId(mapping.uids, root.uid),
      gid: mapping === undefined ? root.gid : mappedId(mapping.gids, root.gid),
      mode: root.mode & 0o7777,
    };
    const overlay = (below: readonly string[]): Promise<void> =>
      kernel
        .mountOverlay({
          lower: below,
          upper: rootfs.upper,
          work: `${folder}/work`,
          target: rootfs.path,
          make,
          ...(context !== undefined && { context }),
        })
        .catch((thrown: unknown) => {
          const isUnfit = errnoOf(thrown) === 'EINVAL' && attempt(() => isOnOverlay(folders.rootfs)) === true;
          throw isUnfit ? unfitFolder(folders, id, thrown) : thrown;
        });
    await overlayLayers({ kernel, folders, roots, folder }, mapping?.userNamespace, layers, lower, overlay);
  };
  const list = async (): Promise<void> => {
    await makeFolder(folder);
    // Not synced: after a power cut the container is gone as well.
    await writeFile(`${folder}/layers.json`, JSON.stringify({ imageId, layers }), { mode: 0o600 });
  };
  await settleAll([roots.use([...layers].reverse(), mountTree), list()]);
  refuseUnsafe(rootfs.path, id);
  return rootfs;
}

/** Returns the error of a store that is in the root file system of a container, and not on a volume. */
function unfitFolder({ rootfs }: StoreFolders, id: string, cause: unknown): PortcullisError {
  return imageError({
    code: 'IMAGES_ROOTFS_FAILED',
    kind: 'precondition',
    attempted: 'mount root file system of container',
    on: id,
    why: `${rootfs} is on overlayfs, where the kernel accepts no writable layer`,
    fix: 'give the daemon a folder `root` on ext4, XFS or btrfs; if it runs in a container, mount a volume there',
    cause,
  });
}

/**
 * Whether one of a container's two mount points has a mount. The process may have been killed before the list
 * of its layers was written.
 */
function isMounted(mappedRoots: MappedRoots, folders: StoreFolders, id: string): boolean {
  return [`${folders.rootfs}/${id}/merged`, mappedRootIn(mappedRoots, id)].some((path) => {
    try {
      return isMountpoint(path);
    } catch (thrown) {
      if (errnoOf(thrown) === 'ENOENT' || errnoOf(thrown) === 'ENOTDIR') return false;
      // The state is unknown, so the layers stay in use.
      return true;
    }
  });
}

function folderOf(folders: StoreFolders, id: string): string {
  if (idPattern.test(id)) return `${folders.rootfs}/${id}`;
  throw imageError({
    code: 'IMAGES_ROOTFS_FAILED',
    kind: 'invalid',
    attempted: 'use root file system of container',
    on: JSON.stringify(id.slice(0, 128)),
    why: 'that is not a container id',
    fix: 'use letters, digits, dot, dash and underscore',
  });
}

/**
 * Checks the merged view, because a layer may replace a plain folder of another layer by a symlink. No
 * process runs in it yet, so it cannot change.
 */
function refuseUnsafe(root: string, id: string): void {
  for (const name of plainFolders) {
    // Not in a thread: the kernel has just read the root folders of the layers, and a round trip to a thread
    // takes longer than this call.
    const found = lstatSync(`${root}/${name}`, { throwIfNoEntry: false });
    if (found === undefined || found.isDirectory()) continue;
    throw imageError({
      code: 'IMAGES_UNSAFE_ROOTFS',
      kind: 'precondition',
      attempted: 'use image as root file system of container',
      on: id,
      why: `/${name} of the image is ${found.isSymbolicLink() ? 'a symlink' : 'not a folder'}, and a runtime that mounts there could write to the host`,
      fix: `build the image with a plain folder /${name}, or without it`,
      details: { path: `/${name}` },
    });
  }
}
