import { dirname, basename, resolve } from 'node:path';
import { checked, cString, kernelError, uninterrupted } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';
import { closeFd, openFile } from './files.ts';
import {
  AT_EMPTY_PATH,
  AT_NO_AUTOMOUNT,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
} from '../ffi/constants.ts';

const c = {
  openat2: glibc('syscall', 'int64', ['long', 'int', 'void *', 'void *', 'size_t']),
  getdents64: glibc('getdents64', 'int64', ['int', 'void *', 'size_t']),
  lseek: glibc('lseek', 'int64', ['int', 'int64', 'int']),
  statx: glibc('statx', 'int', ['int', 'void *', 'int', 'uint', 'void *']),
};

const SYS_openat2 = 437;
const STATX_BASIC_STATS = 0x7ff;
const STATX_ATTR_MOUNT_ROOT = 0x2000n;
const EMPTY = Buffer.from('\0');
const PARENT = Buffer.from('..\0');
/** The maximum number of descriptors that a descent holds. Levels above are closed and reopened by `..`. */
const OPEN_LEVELS = 32;

export const DT_DIR = 4;

/** A name in a folder. Names are bytes, not text: they may contain any byte except NUL and slash. */
export interface Entry {
  /** The name with its closing NUL, as the system calls expect it. */
  readonly name: Buffer;
  /** DT_* of getdents64(2); 0 if the file system does not report it. */
  readonly type: number;
  /** The position after this entry. */
  readonly next: bigint;
}

export interface EntryStat {
  readonly inode: bigint;
  readonly device: string;
  readonly links: number;
  /** Units of 512 bytes. */
  readonly blocks: bigint;
  readonly mountRoot: boolean;
}

interface Level {
  readonly name: Buffer;
  readonly identity: EntryStat;
  fd: number | undefined;
  pending: Entry[];
  position: bigint;
}

/**
 * Walks down a tree by descriptors only: it never looks up a path again, follows no symbolic link and crosses
 * no mount. Neither the depth (beyond PATH_MAX) nor the number of names costs more than a bounded number of
 * descriptors and buffers.
 */
export interface Descent {
  /** Levels below the start; 0 at the start. */
  readonly depth: number;
  /** Descriptor of the current folder. */
  readonly fd: number;
  /** Enters a folder of the current one. ENOTDIR, ELOOP: not a folder. EXDEV: something is mounted there. */
  enter(name: Buffer): void;
  /** Returns the next entry of the current folder, or undefined at its end. */
  next(): Entry | undefined;
  /**
   * Goes back up and returns the name of the folder that was left. ESTALE when the tree was moved in the
   * meantime.
   */
  leave(): Buffer;
  close(): void;
}

/** Starts in the parent of `path`, and returns the name to enter first. ENOENT: the parent does not exist. */
export function startDescent(path: string): { descent: Descent; name: Buffer } {
  const absolute = resolve(cString(path, 'open'));
  if (absolute === '/') throw kernelError('EINVAL', 'open', path, 'the folder / is never walked');
  const start = openFile(dirname(absolute), O_PATH | O_DIRECTORY);
  const levels: Level[] = [];

  const current = (): number => levels.at(-1)?.fd ?? start;

  const descent: Descent = {
    get depth() {
      return levels.length;
    },
    get fd() {
      return current();
    },
    enter(name) {
      const fd = openFolder(current(), name, path);
      try {
        levels.push({ name, identity: statEntry(fd, EMPTY), fd, pending: [], position: 0n });
      } catch (error) {
        closeFd(fd);
        throw error;
      }
      const far = levels[levels.length - 1 - OPEN_LEVELS];
      if (far?.fd !== undefined) {
        closeFd(far.fd);
        far.fd = undefined;
        far.pending = [];
      }
    },
    next() {
      const level = levels.at(-1);
      if (level?.fd === undefined) return undefined;
      if (level.pending.length === 0) level.pending = readEntries(level.fd, path).reverse();
      const entry = level.pending.pop();
      if (entry !== undefined) level.position = entry.next;
      return entry;
    },
    leave() {
      const left = levels.at(-1);
      const above = levels.at(-2);
      if (left?.fd === undefined) throw kernelError('EINVAL', 'leave', path, 'nothing was entered');
      if (above !== undefined && above.fd === undefined) {
        above.fd = openFolder(left.fd, PARENT, path);
        const found = statEntry(above.fd, EMPTY);
        if (found.inode !== above.identity.inode || found.device !== above.identity.device) {
          throw kernelError('ESTALE', 'walk', path, 'the tree was moved while it was walked');
        }
        checked(c.lseek(above.fd, above.position, 0), 'lseek', path);
      }
      closeFd(left.fd);
      levels.pop();
      return left.name;
    },
    close() {
      closeFd(start);
      for (const level of levels) if (level.fd !== undefined) closeFd(level.fd);
      levels.length = 0;
    },
  };
  return { descent, name: Buffer.from(`${basename(absolute)}\0`) };
}

function openFolder(fd: number, name: Buffer, path: string): number {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), 16);
  return uninterrupted(
    () => c.openat2(SYS_openat2, fd, name, how, how.length),
    'openat2',
    subject(path, name),
  );
}

/**
 * Returns the type and identity of an entry. An empty name means the descriptor itself. A symbolic link is
 * not followed.
 */
export function statEntry(fd: number, name: Buffer): EntryStat {
  const stat = Buffer.alloc(256);
  const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH;
  checked(c.statx(fd, name, flags, STATX_BASIC_STATS, stat), 'statx', subject('', name));
  // struct statx: attributes u64 at 8, nlink u32 at 16, ino u64 at 32, blocks u64 at 48, dev_major and
  // dev_minor u32 at 136 and 140
  return {
    inode: stat.readBigUInt64LE(32),
    device: `${stat.readUInt32LE(136)}:${stat.readUInt32LE(140)}`,
    links: stat.readUInt32LE(16),
    blocks: stat.readBigUInt64LE(48),
    mountRoot: (stat.readBigUInt64LE(8) & STATX_ATTR_MOUNT_ROOT) !== 0n,
  };
}

/**
 * Shared by all descents of this thread. A Worker that removes trees uses little heap, so the garbage
 * collector would free separate buffers only after thousands of descents.
 */
let buffer: Buffer | undefined;

/**
 * Reads one buffer full of names. struct linux_dirent64: ino u64, off i64 at 8, reclen u16 at 16, type u8 at
 * 18, name at 19.
 */
function readEntries(fd: number, path: string): Entry[] {
  const names = (buffer ??= Buffer.alloc(32768));
  for (;;) {
    const length = uninterrupted(() => c.getdents64(fd, names, names.length), 'getdents64', path);
    if (length === 0) return [];
    const entries: Entry[] = [];
    for (let at = 0; at < length; at += names.readUInt16LE(at + 16)) {
      const end = names.indexOf(0, at + 19);
      const name = Buffer.from(names.subarray(at + 19, end + 1));
      if (name[0] === 0x2e && (name.length === 2 || (name.length === 3 && name[1] === 0x2e))) continue;
      entries.push({ name, type: names.readUInt8(at + 18), next: names.readBigInt64LE(at + 8) });
    }
    if (entries.length > 0) return entries;
  }
}

/** Returns path and name for an error message. */
export function subject(path: string, name: Buffer): string {
  return `${path} (${JSON.stringify(name.toString('utf8', 0, Math.max(0, name.length - 1)))})`;
}
