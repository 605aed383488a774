import { closeSync, constants } from 'node:fs';
import { mkdir, open, readdir, rmdir } from 'node:fs/promises';
import { reasonOf } from '../../base/errors/index.ts';
import { MNT_DETACH, attachMount, isMountpoint } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { layerFileName } from './erofs/layer-folder.ts';
import type { MountWay } from './erofs/mount-layer.ts';
import { mountBy, mountLayer } from './erofs/mount-layer.ts';
import type { StoreFolders } from './folders.ts';
import { errnoOf, imageError, mayPass } from './limits/failures.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';
import type { LayerRecord } from './layer-workers/protocol.ts';
import type { LayerRow } from './stored-image.ts';

/**
 * The root folders of layers, whatever their form. The file of a layer is mounted when the layer is first
 * used, and stays mounted until the layer is removed: the containers of an image share one page cache.
 */
export interface LayerRoots {
  /**
   * Calls `body` with the roots of recorded layers. They are valid until `body` ends; an overlay or a bind
   * that was mounted on them stays valid.
   * @param folders layer folders, in any order, in which their roots are returned
   * @throws IMAGES_STORE_FAILED when a layer file is damaged, IMAGES_LAYER_UNMOUNTABLE when the kernel does
   * not mount it
   */
  use<T>(folders: readonly string[], body: (roots: readonly string[]) => Promise<T>): Promise<T>;
  /**
   * Opens the root of a layer that may be staged, through a path that stays valid while the layer moves.
   * @param places folders of the layer: the first existing folder is used
   */
  open(places: readonly string[], record: LayerRecord): Promise<OpenRoot>;
  /** Whether layers in this form can be used on this machine. */
  isUsable(row: Pick<LayerRow, 'form'>): boolean;
  /** Whether all of these layers are folders, so that one bind of all layers shows them. */
  areFolders(folders: readonly string[]): boolean;
  /** Releases the mount of a layer whose files are being removed or replaced. Not mounted: success. */
  forget(folder: string): void;
  /** Releases all mounts. Containers keep what they use. */
  close(): Promise<void>;
}

/** An open root of a layer. */
export interface OpenRoot {
  readonly path: string;
  close(): Promise<void>;
}

export interface LayerRootsDeps {
  readonly folders: StoreFolders;
  readonly kernel: Kernel;
  readonly pool: Pick<LayerPool, 'check'>;
  /** Returns the row of a recorded layer folder. */
  readonly recorded: (folder: string) => LayerRow | undefined;
  /**
   * Called before the file of a layer with holes is opened. @throws IMAGES_LAYER_UNGUARDED unless every read
   * of the file waits for the filler
   */
  readonly requireGuarded: (folder: string) => void;
  /** How this machine mounts layer files. */
  readonly way: MountWay;
  /** Called with a layer that cannot be mounted: its file may be missing, replaced or damaged. */
  readonly damaged: (folder: string) => void;
  readonly log: Pick<Logger, 'warn'>;
}

/** A mounted layer file. It is released when it is forgotten and nothing uses it. */
interface Mounted {
  readonly root: Promise<OpenRoot>;
  users: number;
  isForgotten: boolean;
}

/** @throws the errors of removing the mounts of an earlier run */
export async function openLayerRoots({
  folders,
  kernel,
  pool,
  recorded,
  way,
  damaged,
  requireGuarded,
  log,
}: LayerRootsDeps): Promise<LayerRoots> {
  const mounts = new Map<string, Mounted>();
  let attached = 0;
  await dropMounts(folders, kernel);

  async function mountOf(
    handleOf: () => Promise<{ readonly handle: Awaited<ReturnType<typeof open>>; readonly path: string }>,
    record: LayerRecord,
  ): Promise<OpenRoot> {
    if (way.kind === 'none') throw unmountable(record.diffId, way.why);
    const { handle, path } = await handleOf();
    try {
      await pool.check(handle.fd, path, record);
      // Reads of a loop device create no events.
      const mount = record.lazy === true ? mountBy : mountLayer;
      if (record.lazy === true && way.kind !== 'file') throw unmountable(record.diffId, 'it has holes');
      const fd = await mount(kernel, handle.fd, way);
      return way.attached ? await attach(fd) : detached(fd);
    } finally {
      await handle.close();
    }
  }

  /** Attaches a mount to a path, for kernels whose overlays require layers with a path. */
  async function attach(fd: number): Promise<OpenRoot> {
    const path = `${folders.mounts}/${process.pid}.${(attached += 1)}`;
    try {
      await mkdir(path, { mode: 0o700 });
      attachMount(fd, path);
    } finally {
      closeSync(fd);
    }
    return { path, close: () => dropMount(path, kernel) };
  }

  function begin(folder: string, row: LayerRow): Mounted {
    const path = `${folders.layers}/${folder}/${layerFileName}`;
    const root = mountOf(async () => {
      if (row.lazy === true) requireGuarded(folder);
      return { handle: await openFile(path), path };
    }, row);
    const mounted: Mounted = { root, users: 0, isForgotten: false };
    mounts.set(folder, mounted);
    root.catch((thrown: unknown) => {
      // Tried again at the next use.
      if (mounts.get(folder) === mounted) mounts.delete(folder);
      if (!mayPass(thrown)) damaged(folder);
    });
    return mounted;
  }

  function release(mounted: Mounted): void {
    if (!mounted.isForgotten || mounted.users > 0) return;
    mounted.root
      .then((root) => root.close())
      .catch((error: unknown) => {
        log.warn({ error: reasonOf(error) }, 'the mount of a layer file could not be released');
      });
  }

  function forget(folder: string): void {
    const mounted = mounts.get(folder);
    if (mounted === undefined) return;
    mounts.delete(folder);
    mounted.isForgotten = true;
    release(mounted);
  }

  return {
    async use(wanted, body) {
      const used: Mounted[] = [];
      const rootOf = async (folder: string): Promise<string> => {
        const row = recorded(folder);
        if (row?.form !== 'erofs') return `${folders.layers}/${folder}/fs`;
        const mounted = mounts.get(folder) ?? begin(folder, row);
        mounted.users += 1;
        used.push(mounted);
        return (await mounted.root).path;
      };
      try {
        // All have ended before the mounts are released.
        const roots = await Promise.allSettled(wanted.map(rootOf));
        return await body(roots.map(valueOf));
      } finally {
        for (const mounted of used) {
          mounted.users -= 1;
          release(mounted);
        }
      }
    },
    open: (places, record) =>
      record.lazy === true
        ? // No layer depends on a layer with holes: a chunk index refuses such images.
          Promise.reject(unmountable(record.diffId, 'it has holes'))
        : record.form === 'erofs'
          ? mountOf(() => openFirst(places, `/${layerFileName}`, openFile), record)
          : openFirst(places, '/fs', (path) => open(path, 'r')).then(({ handle }) => ({
              // A Worker shares the descriptors of the process.
              path: `/proc/self/fd/${handle.fd}`,
              close: () => handle.close(),
            })),
    isUsable: ({ form }) => form === 'folder' || way.kind !== 'none',
    areFolders: (wanted) => wanted.every((folder) => recorded(folder)?.form !== 'erofs'),
    forget,
    async close() {
      const roots = [...mounts.values()].map(({ root }) => root);
      mounts.clear();
      await Promise.allSettled(roots.map(async (root) => (await root).close()));
    },
  };
}

function detached(fd: number): OpenRoot {
  return {
    // The kernel follows the link only if the path continues after it.
    path: `/proc/self/fd/${fd}/.`,
    close: () => {
      closeSync(fd);
      return Promise.resolve();
    },
  };
}

const openFile = (path: string): ReturnType<typeof open> =>
  open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);

/** Opens the file of this name in the first of the folders that has it. */
async function openFirst<T>(
  places: readonly string[],
  name: string,
  openAt: (path: string) => Promise<T>,
): Promise<{ readonly handle: T; readonly path: string }> {
  // A Worker publishes the layer: it is in its new place before this thread is informed, until the disk has
  // synced.
  for (let attempt = 1; ; attempt++) {
    for (const place of places) {
      try {
        const path = `${place}${name}`;
        return { handle: await openAt(path), path };
      } catch (thrown) {
        if (errnoOf(thrown) !== 'ENOENT' || (attempt === 20 && place === places.at(-1))) throw thrown;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** The name of a mount point: the process, and a number. */
const mountName = /^\d+\.\d+$/;

/** Unmounts what an earlier run left, and removes the mount points. A file of another name stays. */
async function dropMounts(folders: StoreFolders, kernel: Kernel): Promise<void> {
  const names = await readdir(folders.mounts);
  for (const name of names.filter((one) => mountName.test(one)))
    await dropMount(`${folders.mounts}/${name}`, kernel);
}

async function dropMount(path: string, kernel: Kernel): Promise<void> {
  while (isMountpoint(path)) await kernel.umount(path, MNT_DETACH);
  await rmdir(path);
}

function valueOf<T>(result: PromiseSettledResult<T>): T {
  if (result.status === 'rejected') throw result.reason;
  return result.value;
}

function unmountable(layer: string, why: string): Error {
  return imageError({
    code: 'IMAGES_LAYER_UNMOUNTABLE',
    kind: 'precondition',
    attempted: 'mount layer file',
    on: layer,
    why,
    fix: 'restart the daemon: it writes the layer as a folder from its blob',
  });
}
