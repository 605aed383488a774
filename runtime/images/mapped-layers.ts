import { chmod, chown, mkdir, readdir, rmdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import { MNT_DETACH, isMountpoint, kernelRelease } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { makeFolder } from '../../base/storage/index.ts';
import { errnoOf, imageError } from './limits/failures.ts';
import type { StoreFolders } from './folders.ts';
import type { LayerRoots } from './layer-roots.ts';
import type { IdRange } from './types.ts';

/**
 * The folder for the mounts of mapped root file systems. Their runtime runs as the container's root, which
 * must be able to reach the folder from `/`.
 */
export interface MappedRoots {
  readonly folder: string;
  /** Lets other users pass through the folders above, without permission to list or read. */
  open(): Promise<void>;
}

/**
 * Returns the host owner of a file that belongs to `id` in an image. Ids beyond the range have no owner
 * there: root's id is used instead.
 */
export function mappedId(range: IdRange, id: number): number {
  return range.hostId + (id < range.length ? id : 0);
}

/**
 * Runs `body` while all layers are mounted below one folder with their ids mapped: folders by one mount of
 * all layers, layer files by one for each layer. An overlay on them keeps its own references (Linux 5.19 and
 * later accept idmapped layers), so that the mounts are removed at once. After a kill, {@link
 * dropMappedLayers} removes them.
 * @param folder the container's own
 * @param layers layer folders, lowest first
 * @param lower the roots of the layers, top-most first
 * @param body receives the mapped roots of the layers, top-most first
 */
async function withMappedLayers(
  input: {
    readonly kernel: Kernel;
    readonly folders: StoreFolders;
    readonly roots: Pick<LayerRoots, 'areFolders'>;
    readonly folder: string;
    readonly userNamespace: string;
  },
  layers: readonly string[],
  lower: readonly string[],
  body: (lower: readonly string[]) => Promise<void>,
): Promise<void> {
  const { kernel, folders, roots, folder, userNamespace } = input;
  const place = placeIn(folder);
  await makeFolder(place);
  await dropMappedLayers(kernel, folder);
  const bind = (source: string, target: string): Promise<void> =>
    kernel.bindMount(source, target, { idmap: userNamespace, readonly: true });
  try {
    if (roots.areFolders(layers)) {
      await bind(layers.length === 0 ? folders.empty : folders.layers, place);
      await body(layers.length === 0 ? [place] : layers.map((layer) => `${place}/${layer}/fs`).reverse());
      return;
    }
    const mapped = lower.map((_, index) => `${place}/${index}`);
    for (const [index, source] of lower.entries()) {
      await mkdir(`${place}/${index}`, { mode: 0o700 });
      await bind(source, `${place}/${index}`);
    }
    await body(mapped);
  } finally {
    await dropMappedLayers(kernel, folder);
  }
}

/**
 * Mounts an overlay on the layers: on their roots, or, with a user namespace, on their mapped roots.
 * @param lower the roots of the layers, top-most first
 * @param overlay mounts on these roots, top-most first; an image without layers has an empty one
 */
export async function overlayLayers(
  input: Omit<Parameters<typeof withMappedLayers>[0], 'userNamespace'>,
  userNamespace: string | undefined,
  layers: readonly string[],
  lower: readonly string[],
  overlay: (lower: readonly string[]) => Promise<void>,
): Promise<void> {
  if (userNamespace === undefined) await overlay(lower.length === 0 ? [input.folders.empty] : lower);
  else await withMappedLayers({ ...input, userNamespace }, layers, lower, overlay);
}

/** Absent: success. */
export async function dropMappedLayers(kernel: Kernel, folder: string): Promise<void> {
  const place = placeIn(folder);
  await unmountAt(kernel, place);
  for (const name of await readdir(place).catch(noneIfAbsent)) {
    await unmountAt(kernel, `${place}/${name}`);
    await rmdir(`${place}/${name}`);
  }
}

/**
 * Creates the mount point of one container's mapped root; only the container's root group can pass through
 * it.
 */
export async function makeMappedRoot(roots: MappedRoots, id: string, gid: number): Promise<string> {
  await roots.open();
  await makeFolder(roots.folder, 0o711);
  await chmod(roots.folder, 0o711);
  const path = mappedRootIn(roots, id);
  await makeFolder(path);
  await chown(dirname(path), 0, gid);
  await chmod(dirname(path), 0o710);
  return path;
}

/** Unmounts a container's mapped root and removes its mount point; absent: success. */
export async function removeMappedRoot(kernel: Kernel, roots: MappedRoots, id: string): Promise<void> {
  const path = mappedRootIn(roots, id);
  await unmountAt(kernel, path);
  // Not recursive, because nothing below the mount may be removed if it still exists.
  for (const folder of [path, dirname(path)]) await rmdir(folder).catch(ignoreAbsent);
}

/** Returns the containers that have a folder for a mapped root, from this run or an earlier one. */
export async function mappedIds(roots: MappedRoots): Promise<readonly string[]> {
  return readdir(roots.folder).catch((thrown: unknown) => {
    ignoreAbsent(thrown);
    return [];
  });
}

/** Returns the path of a container's mapped root. */
export function mappedRootIn(roots: MappedRoots, id: string): string {
  return `${roots.folder}/${id}/merged`;
}

/** Unmounts the path. Succeeds if nothing is mounted there. */
export async function unmountAt(kernel: Kernel, path: string): Promise<void> {
  try {
    if (isMountpoint(path)) await kernel.umount(path, MNT_DETACH);
  } catch (thrown) {
    if (errnoOf(thrown) !== 'ENOENT' && errnoOf(thrown) !== 'EINVAL') throw thrown;
  }
}

function placeIn(folder: string): string {
  return `${folder}/lower`;
}

function noneIfAbsent(thrown: unknown): readonly string[] {
  // An earlier run may have left a file in place of the folder.
  if (errnoOf(thrown) !== 'ENOTDIR') ignoreAbsent(thrown);
  return [];
}

function ignoreAbsent(thrown: unknown): void {
  if (errnoOf(thrown) !== 'ENOENT') throw thrown;
}

/**
 * Checks that root file systems can be mounted with an id mapping and be reached. Overlays accept idmapped
 * layers from Linux 5.19 on (before that, such a mount fails with EINVAL), and the file system of the layers
 * must support idmapped mounts.
 * @throws IMAGES_NOT_MAPPABLE
 */
export async function checkMapping(
  kernel: Kernel,
  folders: StoreFolders,
  roots: MappedRoots,
  userNamespace: string,
): Promise<void> {
  const { major, minor, release } = kernelRelease();
  if (major < 5 || (major === 5 && minor < 19))
    throw notMappable(folders, `Linux ${release} does not support overlays of idmapped layers`);
  try {
    await kernel.checkIdmap(folders.layers, userNamespace);
  } catch (cause) {
    throw notMappable(folders, reasonOf(cause), cause);
  }
  // The daemon itself makes the folder above them accessible; the folders above that one belong to the host.
  for (let path = dirname(dirname(roots.folder)); path !== '/'; path = dirname(path)) {
    if (((await stat(path)).mode & 0o001) === 0)
      throw notMappable(
        folders,
        `${path} denies other users access to ${roots.folder}, which the root user of a pod must reach: allow it (chmod o+x ${path})`,
      );
  }
}

function notMappable(folders: StoreFolders, why: string, cause?: unknown): Error {
  return imageError({
    code: 'IMAGES_NOT_MAPPABLE',
    kind: 'precondition',
    attempted: 'map the ids of image layers in',
    on: folders.layers,
    why,
    fix: 'use Linux 5.19 or later, with the image store on ext4, xfs or btrfs',
    cause,
  });
}
