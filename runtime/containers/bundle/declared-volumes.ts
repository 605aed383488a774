import { lchownSync, mkdirSync, readlinkSync } from 'node:fs';
import { posix } from 'node:path';
import { PortcullisError, reasonOf, errnoIs, tolerate } from '../../../base/errors/index.ts';
import { O_DIRECTORY, O_PATH, closeFd, isErrno, openInRoot } from '../../../base/kernel/index.ts';
import { badMount } from '../../container-mounts/bad-mount.ts';
import type { Mount } from '../../cri/contract/contract.types.ts';
import { isWithin } from '../mount-sources.ts';

/** More than any image declares; each volume costs the kernel a mount. */
const volumeLimit = 256;
interface FolderOwner {
  readonly uid: number;
  readonly gid: number;
}
const hostRoot: FolderOwner = { uid: 0, gid: 0 };
/** Kernel file systems that every container has. */
const kernelFolders = ['/proc', '/sys', '/dev'];

/**
 * Returns the paths that an image declares as volumes (image-spec, config.md `Volumes`), each as a separate
 * mount, writable even if the root file system is read-only. The mount source is the same path in the
 * container's writable layer: it has the content of the image, counts towards the size of the layer, and is
 * removed with it. Nothing is copied, so nothing can be copied from elsewhere (CVE-2022-23648), and the
 * kernel resolves every path inside the root file system.
 * @param rootfs the merged tree; nothing runs in it yet
 * @param taken destinations of other mounts, which take precedence
 * @param owner of created folders: the root of the container's user namespace
 * @throws PortcullisError RUNTIME_BAD_IMAGE_VOLUME
 */
export function declaredVolumes(
  rootfs: string,
  declared: readonly string[],
  taken: ReadonlySet<string>,
  owner: FolderOwner = hostRoot,
): Mount[] {
  if (declared.length > volumeLimit)
    throw badVolume('', `the image declares ${declared.length}`, `build it with ${volumeLimit} at most`);
  const clean = [...new Set(declared.map((path) => posix.normalize(`/${path}`).replace(/(?<=.)\/+$/, '')))];
  return clean
    .filter(
      (path) => path !== '/' && !taken.has(path) && !kernelFolders.some((folder) => isWithin(path, folder)),
    )
    .map((path) => ({
      containerPath: path,
      hostPath: placeInRoot(rootfs, path, owner),
      readonly: false,
      selinuxRelabel: false,
      propagation: 0,
      uidMappings: [],
      gidMappings: [],
      recursiveReadOnly: false,
      imageSubPath: '',
      mountOptions: [],
    }));
}

/** Returns the real path below the root; creates it when it is missing. */
function placeInRoot(rootfs: string, path: string, owner: FolderOwner): string {
  try {
    using opened = new DisposableStack();
    const found = opened.adopt(tryOpen(rootfs, path) ?? madeInRoot(rootfs, path, owner), closeFd);
    const place = readlinkSync(`/proc/self/fd/${found}`);
    if (!isWithin(place, rootfs) || place === rootfs)
      throw badVolume(
        path,
        'it leads out of the root file system, or to its root',
        'build the image without it',
      );
    return place;
  } catch (thrown) {
    if (thrown instanceof PortcullisError && thrown.code === 'RUNTIME_BAD_IMAGE_VOLUME') throw thrown;
    const why =
      (thrown as NodeJS.ErrnoException).code === 'EEXIST'
        ? 'a link in its path leads to a missing file'
        : reasonOf(thrown);
    throw badVolume(path, why, 'build the image with a folder at this path');
  }
}

/**
 * Creates the folder to which a link on the way to a mount leads, and those above it.
 * @throws PortcullisError RUNTIME_BAD_MOUNT
 */
export function makeFolderInRoot(rootfs: string, path: string, owner: FolderOwner = hostRoot): void {
  try {
    closeFd(madeInRoot(rootfs, path, owner));
  } catch (thrown) {
    if (!isErrno(thrown, 'ENOTDIR')) throw thrown;
    throw badMount(
      path,
      'a link of the image leads there, and a part of the path is not a folder',
      'mount at another path, or correct the image',
    );
  }
}

function tryOpen(rootfs: string, path: string): number | undefined {
  return tolerate(errnoIs('ENOENT'), () => openInRoot(rootfs, path, { flags: O_PATH }));
}

function madeInRoot(rootfs: string, path: string, owner: FolderOwner): number {
  const parts = path.split('/').filter((part) => part !== '');
  for (const [at, name] of parts.entries()) {
    const known = tryOpen(rootfs, parts.slice(0, at + 1).join('/'));
    if (known !== undefined) {
      closeFd(known);
      continue;
    }
    using opened = new DisposableStack();
    const parent = opened.adopt(
      openInRoot(rootfs, parts.slice(0, at).join('/') || '.', { flags: O_PATH | O_DIRECTORY }),
      closeFd,
    );
    const made = `/proc/self/fd/${parent}/${name}`;
    mkdirSync(made, { mode: 0o755 });
    if (owner !== hostRoot) lchownSync(made, owner.uid, owner.gid);
  }
  return openInRoot(rootfs, path, { flags: O_PATH });
}

function badVolume(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_IMAGE_VOLUME',
    kind: 'precondition',
    attempted: 'create volume declared by the image',
    on,
    why,
    fix,
  });
}
