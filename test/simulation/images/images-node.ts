import type { Kernel } from '../../../base/kernel/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import { createImageStore } from '../../../runtime/images/index.ts';
import type { OpenImageStore } from '../../../runtime/images/index.ts';
import type { LayerMapping } from '../../../runtime/images/types.ts';
import '../../../runtime/images/layer-workers/layer.worker.ts';
import type { TrustPolicy } from '../../../trust/index.ts';
import { beginLife } from '../engine/life.ts';
import type { Life } from '../engine/client.ts';
import type { StoredDatabase } from '../engine/database.ts';
import type { Errnos, Odds, Troubles } from '../engine/faults.ts';
import { hold } from '../engine/invariants.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import type { Report } from '../engine/history-events.ts';
import { systemError } from './disk.ts';
import type { Disk, Inode } from './disk.ts';
import { call, shown, useMachine } from './machine.ts';
import type { Mount } from './machine.ts';
import { layersByFolder, simulatedRegistry } from './registry.ts';
import type { LayerContent } from './registry.ts';
import { closeAll } from './descriptors.ts';
import { forgetWorkers } from './worker.ts';

/** Everything outside the daemon that concerns images. */
export interface ImagesWorld {
  readonly scheduler: Scheduler;
  readonly report: Report;
  readonly troubles: Troubles;
  readonly database: StoredDatabase;
  readonly disk: Disk;
  readonly mounts: Map<string, Mount>;
  /** Digests by repository and tag. */
  readonly tags: Map<string, string>;
  policy: TrustPolicy;
  bootId: string;
  /** Targets of mounts that a decision has admitted. */
  readonly admitted: Set<string>;
  /** By container with a user namespace: its ids on the host, which no other container has. */
  readonly ids: Map<string, LayerMapping>;
}

/** One life of the daemon, as far as it concerns images. */
export interface ImagesNode extends Life {
  readonly store: OpenImageStore;
}

export const storeRoot = '/images';
const log = createLogger({ level: 'silent' });

/**
 * Errors after which no recorded data may be lost: each of them says nothing about the content. EIO of a sync
 * also reports data that the disk has lost (stand-ins/kernel.ts).
 */
const errnos: Errnos = {
  write: ['ENOSPC', 'EMFILE', 'ENOMEM', 'EIO'],
  removal: ['ENOMEM', 'ENOSPC', 'EIO'],
  read: ['EMFILE', 'ENOMEM', 'EIO'],
  spawn: ['EAGAIN', 'ENOMEM'],
  kernel: ['ENOMEM'],
};

/** Returns whether the tree has exactly the files of a layer. */
export function isWhole(tree: Inode | undefined, layer: LayerContent | undefined): boolean {
  if (tree?.kind !== 'folder' || layer === undefined || tree.entries.size !== layer.files.length)
    return false;
  return layer.files.every(([name, text]) => {
    const file = tree.entries.get(name);
    return file?.kind === 'file' && file.text === text;
  });
}

const allLayers = [...new Set(layersByFolder.values())];

/** @param layer the name of its folder; undefined: any layer's tree is valid */
function checkUse(tree: Inode | undefined, layer: string | undefined, by: string): void {
  const whole =
    layer === undefined
      ? allLayers.some((one) => isWhole(tree, one))
      : isWhole(tree, layersByFolder.get(layer));
  hold('whole images', whole, `${by} uses layer ${shown(layer ?? '(unnamed)')}, which is not whole`);
}

function kernelOf(world: ImagesWorld, broken: (cause: unknown) => void): Kernel {
  const { disk, mounts } = world;
  const kernel: Partial<Kernel> = {
    removeTree: (path) =>
      call(
        'removal',
        'removeTree',
        path,
        // The write may be cut off when one of its files is gone.
        () => {
          const found = disk.find(path);
          const [first] = found?.kind === 'folder' ? found.entries.keys() : [];
          if (first !== undefined) disk.remove(`${path}/${first}`, { recursive: true });
        },
        () => disk.remove(path, { recursive: true, force: true }),
      ),
    limitsProjects: () => Promise.resolve(false),
    umount: (target) =>
      call('removal', 'umount', target, () => {
        if (!mounts.delete(target)) throw systemError('EINVAL', 'umount', target);
      }),
    bindMount: (source, target, { idmap } = {}) =>
      call('write', 'bind mount at', target, () => {
        if (disk.find(target) === undefined) throw systemError('ENOENT', 'mount', target);
        mounts.set(target, { lowers: [], source, ...(idmap !== undefined && { ids: idmap }) });
      }),
    mountOverlay: ({ lower, target, upper, work, make }) =>
      call(
        'write',
        'mount overlay at',
        target,
        ...(make === undefined ? [] : [upper, work, target]).map(
          (path) => () => disk.makeFolder(path ?? target, true),
        ),
        () => {
          const bound = [...mounts].find(
            ([at, { source }]) => source !== undefined && lower[0]?.startsWith(`${at}/`) === true,
          );
          const lowers = lower.map((path) =>
            disk.folder(bound === undefined ? path : path.replace(bound[0], bound[1].source ?? '')),
          );
          const ids = bound?.[1].ids;
          if (disk.find(target) === undefined) throw systemError('ENOENT', 'mount', target);
          try {
            for (const [index, path] of lower.entries())
              checkUse(lowers[index], path.split('/').at(-2), target);
            const container = target.split('/')[3] ?? '';
            hold(
              'verdict before use',
              world.admitted.has(container),
              `${target} is mounted without a decision`,
            );
            const own = world.ids.get(container);
            hold('true ids', ids === own?.userNamespace, `${target} shows the ids of ${ids ?? 'the host'}`);
            // A volume has no writable layer whose root would have an owner.
            const owner = make === undefined ? own?.uids.hostId : make.uid;
            hold(
              'true ids',
              own === undefined || owner === own.uids.hostId,
              `${target} belongs to ${owner ?? 'root'} of the host`,
            );
          } catch (cause) {
            broken(cause);
          }
          mounts.set(target, { lowers, ...(ids !== undefined && { ids }) });
        },
      ),
  };
  return kernel as Kernel;
}

/**
 * Opens the store on the state that the previous life left, and repairs it; the check of its layers continues
 * in the background.
 */
export async function bootImages(
  world: ImagesWorld,
  odds: Odds,
  containers: () => ReadonlySet<string>,
): Promise<ImagesNode> {
  const { scheduler, report, disk, mounts, bootId } = world;
  // Work that the last life was about to do in this turn finds it dead.
  await new Promise((resolve) => setImmediate(resolve));
  const begun = beginLife(world, odds, () => undefined, errnos);
  const { life, ended, broken } = begun;
  forgetWorkers();
  closeAll();
  const used = (tree: Inode | undefined, layer: string | undefined, by: string): void => {
    try {
      checkUse(tree, layer, by);
    } catch (cause) {
      broken(cause);
    }
  };
  useMachine({ ...{ scheduler, report, disk, mounts, bootId, life, used, broken } });
  const start = async (): Promise<ImagesNode> => {
    const store = await createImageStore({
      root: storeRoot,
      database: world.database.open(life),
      kernel: kernelOf(world, broken),
      registryClient: simulatedRegistry(world.tags),
      policy: () => world.policy,
      platform: { os: 'linux', architecture: 'amd64' },
      log,
      now: () => new Date(scheduler.wall()),
    });
    await store.reconcile(containers());
    store.checkLayers().catch(broken);
    return { store, ended, kill: life.kill, stopFaults: life.stopFaults };
  };
  try {
    return await Promise.race([start(), ended]);
  } catch (cause) {
    life.kill();
    throw cause;
  }
}
