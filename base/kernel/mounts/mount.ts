import { errnoIs, tolerate } from '../../errors/index.ts';
import { checked, cString, isErrno, kernelError } from '../ffi/errno.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';
import { closeFd, openFile, withOpen } from '../files/files.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_NO_AUTOMOUNT,
  AT_RECURSIVE,
  AT_SYMLINK_NOFOLLOW,
  MS_PRIVATE,
  MS_REC,
  MS_SHARED,
  MS_SLAVE,
  MS_UNBINDABLE,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  S_IFLNK,
  S_IFMT,
} from '../ffi/constants.ts';

const c = {
  mount: glibc('mount', 'int', ['str', 'str', 'str', 'ulong', 'str']),
  umount2: glibc('umount2', 'int', ['str', 'int']),
  openTree: glibc('open_tree', 'int', ['int', 'str', 'uint']),
  mountSetattr: glibc('mount_setattr', 'int', ['int', 'str', 'uint', 'void *', 'size_t']),
  moveMount: glibc('move_mount', 'int', ['int', 'str', 'int', 'str', 'uint']),
  statx: glibc('statx', 'int', ['int', 'str', 'int', 'uint', 'void *']),
};

/** How mounts propagate: mount_namespaces(7). The `r` forms also apply to every mount below. */
export type Propagation =
  | 'private'
  | 'rprivate'
  | 'shared'
  | 'rshared'
  | 'slave'
  | 'rslave'
  | 'unbindable'
  | 'runbindable';

const propagationFlags: Readonly<Record<Propagation, number>> = {
  private: MS_PRIVATE,
  rprivate: MS_PRIVATE | MS_REC,
  shared: MS_SHARED,
  rshared: MS_SHARED | MS_REC,
  slave: MS_SLAVE,
  rslave: MS_SLAVE | MS_REC,
  unbindable: MS_UNBINDABLE,
  runbindable: MS_UNBINDABLE | MS_REC,
};

/**
 * Calls mount(2). `data` is the file system's own option string. It takes at most one page; the kernel
 * truncates a longer one.
 * @throws PortcullisError KERNEL_E2BIG if `data` is longer, otherwise the error of mount(2)
 */
export function mount(source: string, target: string, fstype: string, flags: number, data?: string): void {
  if (data !== undefined && Buffer.byteLength(data) >= 4096) {
    throw kernelError(
      'E2BIG',
      'mount',
      target,
      'the option string is longer than the page that the kernel reads',
    );
  }
  const result = c.mount(
    cString(source, 'mount'),
    cString(target, 'mount'),
    cString(fstype, 'mount'),
    flags,
    data === undefined ? null : cString(data, 'mount'),
  );
  checked(result, 'mount', target);
}

/** Calls umount2(2). `flags`: MNT_DETACH, UMOUNT_NOFOLLOW … EINVAL means that nothing is mounted there. */
export function umount(target: string, flags = 0): void {
  checked(c.umount2(cString(target, 'umount'), flags), 'umount', target);
}

/**
 * Changes the propagation of the mount at `target`, and with `rprivate`, `rshared` and the like also that of
 * the mounts below it.
 */
export function setPropagation(target: string, propagation: Propagation): void {
  checked(
    c.mount('none', cString(target, 'mount'), null, propagationFlags[propagation], null),
    'mount',
    target,
  );
}

const OPEN_TREE_CLONE = 1;
const MOUNT_ATTR_RDONLY = 1n;
const MOUNT_ATTR_IDMAP = 0x00100000n;
const MOVE_MOUNT_F_EMPTY_PATH = 4;

export interface BindOptions {
  /** Includes the mounts below the source (`rbind`). */
  readonly recursive?: boolean;
  /** Read-only from the start; with `recursive` every mount below too (`rro`). */
  readonly readonly?: boolean;
  readonly propagation?: Propagation;
  /**
   * Path of a user namespace. Ids on disk are read as ids inside it, and shown as the ids to which it maps
   * them (mount_setattr(2), MOUNT_ATTR_IDMAP).
   */
  readonly idmap?: string;
}

/**
 * Binds `source` (a symbolic link is followed) on `target` (a link at its end is not followed). The mount is
 * prepared detached with open_tree(2) and mount_setattr(2). Therefore a read-only bind is never writable, not
 * even for a moment, and keeps nosuid, nodev and noexec of its source. Needs kernel 5.12.
 * @throws PortcullisError with the error of the call; nothing is mounted then
 */
export function bindMount(source: string, target: string, options: BindOptions = {}): void {
  const recursive = options.recursive === true ? AT_RECURSIVE : 0;
  const tree = cloneTree(source, recursive);
  try {
    if (options.readonly === true) setAttributes(tree, MOUNT_ATTR_RDONLY, 0, recursive, target);
    if (options.idmap !== undefined) idmapTree(tree, options.idmap, recursive, source);
    attach(tree, target);
  } finally {
    closeFd(tree);
  }
  if (options.propagation !== undefined) {
    // This must follow the attachment, because a mount that is attached to a shared parent becomes shared.
    try {
      setPropagation(target, options.propagation);
    } catch (error) {
      c.umount2(target, 2);
      throw error;
    }
  }
}

/**
 * Checks whether `source` could be bound with ids mapped by a user namespace. Mounts nothing.
 * @throws KERNEL_EINVAL when its file system cannot be mapped (or is mapped already), with the reason in
 * words
 */
export function checkIdmap(source: string, userNamespace: string): void {
  using opened = new DisposableStack();
  const tree = opened.adopt(cloneTree(source, 0), closeFd);
  idmapTree(tree, userNamespace, 0, source);
}

function cloneTree(source: string, recursive: number): number {
  const tree = c.openTree(AT_FDCWD, cString(source, 'open_tree'), OPEN_TREE_CLONE | O_CLOEXEC | recursive);
  if (tree === -1) throw kernelError(lastErrno(), 'open_tree', source);
  return tree;
}

function idmapTree(tree: number, userNamespace: string, recursive: number, on: string): void {
  const namespace = openFile(userNamespace, O_RDONLY);
  try {
    setAttributes(tree, MOUNT_ATTR_IDMAP, namespace, recursive, on);
  } catch (error) {
    if (!isErrno(error, 'EINVAL', 'EPERM')) throw error;
    throw kernelError(
      'EINVAL',
      'map the ids of mount',
      on,
      'its file system does not support idmapped mounts, or the mount is idmapped already',
      'use a file system for which the kernel supports idmapped mounts, such as ext4, xfs, btrfs or tmpfs',
    );
  } finally {
    closeFd(namespace);
  }
}

/** struct mount_attr: attr_set u64, attr_clr u64, propagation u64, userns_fd u64. */
function setAttributes(tree: number, set: bigint, namespace: number, recursive: number, on: string): void {
  const attributes = Buffer.alloc(32);
  attributes.writeBigUInt64LE(set, 0);
  attributes.writeBigUInt64LE(BigInt(namespace), 24);
  checked(
    c.mountSetattr(tree, '', AT_EMPTY_PATH | recursive, attributes, attributes.length),
    'mount_setattr',
    on,
  );
}

const MOVE_MOUNT_T_EMPTY_PATH = 0x40;

/**
 * Attaches a detached mount (of fsmount or open_tree) at `target`. A symbolic link at the end of `target` is
 * ELOOP: following it would mount elsewhere, and the kernel would even mount on the link itself.
 */
export function attach(mountFd: number, target: string): void {
  withOpen(target, O_PATH | O_NOFOLLOW, (place) => {
    const mode = statx(place, '', AT_EMPTY_PATH, target).readUInt16LE(28);
    if ((mode & S_IFMT) === S_IFLNK)
      throw kernelError('ELOOP', 'move_mount', target, 'the mount point is a symbolic link');
    checked(
      c.moveMount(mountFd, '', place, '', MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
      'move_mount',
      target,
    );
  });
}

const STATX_TYPE = 1;
const STATX_ATTR_MOUNT_ROOT = 0x2000n;

/**
 * Returns whether something is mounted exactly at `path` (a link is not followed). False if nothing exists
 * there. Needs kernel 5.8.
 * @throws PortcullisError KERNEL_EOPNOTSUPP on an older kernel
 */
export function isMountpoint(path: string): boolean {
  const stat = tolerate(errnoIs('ENOENT', 'ENOTDIR'), () =>
    statx(AT_FDCWD, cString(path, 'statx'), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, path),
  );
  if (stat === undefined) return false;
  if ((stat.readBigUInt64LE(56) & STATX_ATTR_MOUNT_ROOT) === 0n)
    throw kernelError('EOPNOTSUPP', 'statx', path, 'the kernel does not report mount roots');
  return (stat.readBigUInt64LE(8) & STATX_ATTR_MOUNT_ROOT) !== 0n;
}

/** struct statx: stx_attributes u64 at 8, stx_mode u16 at 28, stx_attributes_mask u64 at 56. */
function statx(fd: number, path: string, flags: number, on: string): Buffer {
  const stat = Buffer.alloc(256);
  checked(c.statx(fd, path, flags, STATX_TYPE, stat), 'statx', on);
  return stat;
}
