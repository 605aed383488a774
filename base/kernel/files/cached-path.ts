import { readlinkSync } from 'node:fs';
import { constants as system } from 'node:os';
import { meaningOfErrno } from '../../errors/index.ts';
import { checked, cString, errnoName, kernelError } from '../ffi/errno.ts';
import { closeFd, openInRootIfThere } from './files.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_PATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  S_IFLNK,
  S_IFMT,
} from '../ffi/constants.ts';

const c = {
  openat2: glibc('syscall', 'int64', ['long', 'int', 'str', 'void *', 'size_t']),
  statx: glibc('statx', 'int', ['int', 'str', 'int', 'uint', 'void *']),
};

const SYS_openat2 = 437;
const STRUCT_OPEN_HOW_SIZE = 24;
const RESOLVE_CACHED = 0x20;
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_TYPE = 0x1;
/**
 * The fields that are used: STATX_TYPE, MODE, UID, GID, INO and SIZE. File systems without access times, such
 * as EROFS, do not answer with all of STATX_BASIC_STATS.
 */
const wanted = 0x1 | 0x2 | 0x8 | 0x10 | 0x100 | 0x200;

/** The path and attributes of a file that the kernel has cached. */
export interface CachedFile {
  /** The path without symbolic links, as in the mount table of this process. */
  readonly path: string;
  /** Type and permissions (inode(7)). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** The major number of a device node. */
  readonly major: number;
  readonly minor: number;
  /** The device of the file system. */
  readonly device: string;
  readonly inode: string;
}

/**
 * How often a path is looked up before it counts as unknown, at some microseconds each. The kernel answers
 * EAGAIN for a path that is not cached, and also for a cached one when anything on the machine is mounted or
 * renamed meanwhile (fs/namei.c, `try_to_unlazy`): beside three processes that mount, one look-up in a
 * hundred.
 */
const mostLooks = 8;

/**
 * Looks up a path only in the kernel's caches (openat2(2), RESOLVE_CACHED, Linux 5.12). It never waits for a
 * file system, its server or its disk, so it may be called on the main thread with any path.
 * @returns `missing`: the kernel knows that nothing exists there (ENOENT, ENOTDIR); undefined: the caches do
 * not say, or the kernel is older
 * @throws KERNEL_EMFILE, KERNEL_ENFILE, KERNEL_ENOMEM: this process or the machine has no descriptor or
 * memory for the look
 */
export function cachedFile(
  path: string,
  options: { readonly followLink: boolean },
): CachedFile | 'missing' | undefined {
  const how = Buffer.alloc(STRUCT_OPEN_HOW_SIZE);
  how.writeBigUInt64LE(BigInt(O_PATH | O_CLOEXEC | (options.followLink ? 0 : O_NOFOLLOW)), 0);
  how.writeBigUInt64LE(BigInt(RESOLVE_CACHED | RESOLVE_NO_MAGICLINKS), 16);
  const place = cString(path, 'openat2');
  let fd = -1;
  let errno: number = system.errno.EAGAIN;
  for (let look = 0; fd < 0 && errno === system.errno.EAGAIN && look < mostLooks; look += 1) {
    fd = c.openat2(SYS_openat2, AT_FDCWD, place, how, how.length);
    errno = fd < 0 ? lastErrno() : 0;
  }
  if (fd < 0) {
    const name = errnoName(errno);
    // A caller without descriptors must not go on as if the caches did not know the path.
    if (meaningOfErrno(name) === 'shortage') throw kernelError(name, 'openat2', path);
    return name === 'ENOENT' || name === 'ENOTDIR' ? 'missing' : undefined;
  }
  try {
    const stat = Buffer.alloc(256);
    checked(c.statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, wanted, stat), 'statx', path);
    const real = readlinkSync(`/proc/self/fd/${fd}`);
    // A file has no path if it was removed in the meantime or is outside this process's root.
    if ((stat.readUInt32LE(0) & wanted) !== wanted || !real.startsWith('/') || real.endsWith(' (deleted)'))
      return undefined;
    // struct statx: mask u32 at 0, uid and gid u32 at 20, mode u16 at 28, ino u64 at 32, size u64 at 40, rdev
    // at 128, dev at 136 (two u32 each)
    return {
      path: real,
      mode: stat.readUInt16LE(28),
      uid: stat.readUInt32LE(20),
      gid: stat.readUInt32LE(24),
      size: Number(stat.readBigUInt64LE(40)),
      major: stat.readUInt32LE(128),
      minor: stat.readUInt32LE(132),
      device: `${stat.readUInt32LE(136)}:${stat.readUInt32LE(140)}`,
      inode: stat.readBigUInt64LE(32).toString(),
    };
  } finally {
    closeFd(fd);
  }
}

/** The type of a file, and the device of its file system as MAJOR:MINOR. */
export interface NamedFile {
  readonly isLink: boolean;
  readonly device: string;
}

/**
 * Looks the last name of a path up without following it if it is a link, and without a question to the file
 * system that is mounted there. Only the file system of the folder is asked, so the call waits for no server
 * if that folder depends on none.
 * @param root descriptor of the folder in which the path begins; only its last name may be a link
 * @returns undefined if nothing exists there
 * @throws PortcullisError with the error of openat2(2) or statx(2)
 */
export function namedFile(root: number, path: string): NamedFile | undefined {
  const fd = openInRootIfThere(root, path, {
    flags: O_PATH | O_NOFOLLOW,
    resolve: RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
  });
  if (fd === undefined) return undefined;
  try {
    const stat = Buffer.alloc(256);
    checked(c.statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, stat), 'statx', path);
    return {
      isLink: (stat.readUInt16LE(28) & S_IFMT) === S_IFLNK,
      device: `${stat.readUInt32LE(136)}:${stat.readUInt32LE(140)}`,
    };
  } finally {
    closeFd(fd);
  }
}
