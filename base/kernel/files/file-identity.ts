import { statfsSync } from 'node:fs';
import { checked, kernelError } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';
import { closeFd, openFile, openInRoot } from './files.ts';
import { AT_EMPTY_PATH, O_DIRECTORY, O_PATH, S_IFMT } from '../ffi/constants.ts';

const c = {
  statx: glibc('statx', 'int', ['int', 'str', 'int', 'uint', 'void *']),
};

const STATX_BASIC_STATS = 0x7ff;
const STATX_MNT_ID = 0x1000;
const STATX_ATTR_MOUNT_ROOT = 0x2000n;
const S_IFREG = 0o100000;

/** The identity of an open file. No two files have the same identity at the same time. */
export interface FileIdentity {
  readonly device: string;
  readonly inode: bigint;
  /** The mount through which it was opened, as in proc_pid_mountinfo(5). Unique over all mount namespaces. */
  readonly mountId: bigint;
  /** Whether the file is the root of that mount. */
  readonly mountRoot: boolean;
  readonly isFile: boolean;
}

/**
 * Returns the identity of an open file (statx(2)). An O_PATH descriptor is enough. Linux 5.8.
 * @throws KERNEL_EOPNOTSUPP on an older kernel
 */
export function fileIdentityOf(fd: number): FileIdentity {
  const stat = Buffer.alloc(256);
  checked(c.statx(fd, '', AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, stat), 'statx', `fd ${fd}`);
  if ((stat.readUInt32LE(0) & STATX_MNT_ID) === 0)
    throw kernelError('EOPNOTSUPP', 'statx', `fd ${fd}`, 'this kernel does not report the mount of a file');
  // struct statx: mask u32 at 0, attributes u64 at 8, mode u16 at 28, ino u64 at 32, dev_major and dev_minor
  // u32 at 136, mnt_id u64 at 144
  return {
    device: `${stat.readUInt32LE(136)}:${stat.readUInt32LE(140)}`,
    inode: stat.readBigUInt64LE(32),
    mountId: stat.readBigUInt64LE(144),
    mountRoot: (stat.readBigUInt64LE(8) & STATX_ATTR_MOUNT_ROOT) !== 0n,
    isFile: (stat.readUInt16LE(28) & S_IFMT) === S_IFREG,
  };
}

/** linux/magic.h */
const PROC_SUPER_MAGIC = 0x9fa0;
const SYSFS_MAGIC = 0x62656572;
const OVERLAYFS_SUPER_MAGIC = 0x794c7630;

/**
 * Returns the kernel file system to which an open file belongs, by the magic number of its file system
 * (statfs(2)).
 */
export function kernelFileSystemOf(fd: number): 'proc' | 'sysfs' | undefined {
  const { type } = statfsSync(`/proc/self/fd/${fd}`);
  return type === PROC_SUPER_MAGIC ? 'proc' : type === SYSFS_MAGIC ? 'sysfs' : undefined;
}

/**
 * Reports whether a folder is on overlayfs, like the root of a container. No overlay can have its writable
 * layer there.
 * @throws the error of statfs(2), such as ENOENT
 */
export function isOnOverlay(folder: string): boolean {
  return statfsSync(folder).type === OVERLAYFS_SUPER_MAGIC;
}

/**
 * The maximum number of folders above the root of a process. A deeper root counts as an attempt to waste our
 * time.
 */
const deepestRoot = 4096;

/**
 * Opens the root of the mount namespace of a process. A program that joins the namespace starts there. It
 * differs from the process's own root after chroot(2). For our process `..` stops only at the top of that
 * namespace: path_resolution(7).
 * @returns an O_PATH descriptor that the caller closes, and whether the process's own root is the same folder
 * @throws KERNEL_ENOENT, KERNEL_EACCES when the process is gone; KERNEL_ELOOP when its root is too deep
 */
export function openNamespaceRoot(pid: number): { readonly fd: number; readonly isOwnRoot: boolean } {
  let fd = openFile(`/proc/${pid}/root`, O_PATH | O_DIRECTORY);
  try {
    for (let depth = 0; depth < deepestRoot; depth += 1) {
      const above = openInRoot(fd, '..', { flags: O_PATH | O_DIRECTORY, resolve: 0 });
      const [here, there] = [fileIdentityOf(fd), fileIdentityOf(above)];
      closeFd(fd);
      fd = above;
      if (here.mountId === there.mountId && here.inode === there.inode) return { fd, isOwnRoot: depth === 0 };
    }
    throw kernelError('ELOOP', 'open', `/proc/${pid}/root`, 'it is too deep');
  } catch (thrown) {
    closeFd(fd);
    throw thrown;
  }
}
