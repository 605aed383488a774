import { statfsSync } from 'node:fs';
import { directReadUnit, isErrno, kernelRelease } from '../../../base/kernel/index.ts';
import type { Kernel, KernelRelease } from '../../../base/kernel/index.ts';
import { blockBytes } from './format.ts';

/** How Linux mounts the layer files of a folder. */
export type MountWay =
  | {
      readonly kind: 'file' | 'loop';
      /** Whether reads bypass the page cache of the file system of the store, if it supports this. */
      readonly direct: boolean;
      /** Whether a mount needs a path to be a layer of overlayfs, or to be bound. */
      readonly attached: boolean;
      /** Whether fs-verity protects new layer files. Only the probe knows. */
      readonly verity?: boolean;
    }
  | {
      readonly kind: 'none';
      /** Why the kernel does not mount layer files, for `portcullis doctor` and the log. */
      readonly why: string;
    };

/** linux/magic.h */
const OVERLAYFS_SUPER_MAGIC = 0x794c7630;

/** Reads blocks of 512 bytes: earlier releases require blocks of a page. */
const oldest = [6, 4] as const;

/**
 * Releases whose file-backed mounts are used. The mounts came with 6.12 and had three faults, each fixed in
 * later releases: a read that a SIGKILL interrupted left pages of zeros in the page cache, for all
 * containers; `directio` used freed memory; a read past the end of the file returned other memory (layer
 * files end at a page). A series that is not listed had its last release before that. The patch levels are
 * later than the fixes, which were made from February to June 2026. Source: docs/decisions/0085.
 */
const soundSeries: readonly (readonly [major: number, minor: number, patch: number])[] = [
  [6, 12, 99],
  [6, 18, 44],
];
const soundFrom = [7, 2] as const;
/** From this release on, a mount that is attached nowhere can be a layer of overlayfs, and can be cloned. */
const detachedFrom = [6, 15] as const;

/**
 * Plans how layer files in a folder are mounted, from the release of the kernel and the file system of the
 * folder. `probeLayerMounts` tries the plan.
 * @param type of the folder's file system, as statfs(2) gives it
 */
export function mountWay({ major, minor, release }: KernelRelease, type: number): MountWay {
  if (!isFrom([major, minor], oldest))
    return {
      kind: 'none',
      why: `Linux ${release} does not read EROFS with blocks of 512 bytes (6.4 and later do)`,
    };
  const patch = Number(/^\d+\.\d+\.(\d+)/.exec(release)?.[1] ?? 0);
  const sound =
    isFrom([major, minor], soundFrom) ||
    soundSeries.some(([a, b, least]) => major === a && minor === b && patch >= least);
  // The kernel stacks two levels: the overlay of a container, and EROFS on a file. A loop device does not
  // count as a level.
  return {
    kind: sound && type !== OVERLAYFS_SUPER_MAGIC ? 'file' : 'loop',
    direct: true,
    attached: !isFrom([major, minor], detachedFrom),
  };
}

/** Returns how this machine would mount the layer files in a folder. */
export function mountWayOf(folder: string): MountWay {
  return mountWay(kernelRelease(), statfsSync(folder).type);
}

/** Whether the first version is at least the second one. */
function isFrom(
  [major, minor]: readonly [number, number],
  [leastMajor, leastMinor]: readonly [number, number],
): boolean {
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}

/**
 * Mounts an open layer file, attached nowhere: the tree is at `/proc/self/fd/N`, and disappears with the last
 * descriptor, mount or container that uses it. Without direct reads the page cache would hold each page
 * twice. If EROFS cannot read the file system of the file (tmpfs), a loop device is used, even if an untried
 * plan is to mount the file.
 * @param fd from `openLayerFile`: the kernel parses what is in the file
 * @param way one that mounts
 * @returns a descriptor of the mount, which the caller closes
 * @throws KERNEL_<errno>, with the kernel's reason if it gives one
 */
export async function mountLayer(
  kernel: Pick<Kernel, 'openDetachedMount'>,
  fd: number,
  { kind, direct }: Pick<Exclude<MountWay, { kind: 'none' }>, 'kind' | 'direct'>,
): Promise<number> {
  try {
    return await mountBy(kernel, fd, { kind, direct });
  } catch (thrown) {
    if (kind === 'file' && isErrno(thrown, 'ENOTBLK')) return mountBy(kernel, fd, { kind: 'loop', direct });
    throw thrown;
  }
}

/** Like {@link mountLayer}, but only in the given way: for the probe. */
export function mountBy(
  kernel: Pick<Kernel, 'openDetachedMount'>,
  fd: number,
  { kind, direct }: Pick<Exclude<MountWay, { kind: 'none' }>, 'kind' | 'direct'>,
): Promise<number> {
  // A disk with blocks of 4 KiB cannot read the archive directly: its files begin at multiples of 512 bytes.
  const unit = direct ? directReadUnit(fd) : 0;
  const isDirect = unit > 0 && (kind === 'loop' || unit <= blockBytes);
  return kernel.openDetachedMount('erofs', { path: `/proc/self/fd/${fd}`, by: kind, direct: isDirect });
}
