import { constants } from 'node:fs';
import { constants as system } from 'node:os';
import { checked, cString, isErrno, kernelError, uninterrupted } from '../ffi/errno.ts';
import { strike } from '../ffi/ledger.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  RESOLVE_IN_ROOT,
  S_IFIFO,
} from '../ffi/constants.ts';

const c = {
  open: glibc('open', 'int', ['str', 'int', 'uint']),
  close: glibc('close', 'int', ['int']),
  write: glibc('write', 'int64', ['int', 'void *', 'size_t']),
  syscall: glibc('syscall', 'int64', ['long', 'int', 'str', 'void *', 'size_t']),
  mknod: glibc('mknod', 'int', ['str', 'uint', 'uint64']),
  utimensat: glibc('utimensat', 'int', ['int', 'void *', 'void *', 'int']),
  syncfs: glibc('syncfs', 'int', ['int']),
  syncFileRange: glibc('sync_file_range', 'int', ['int', 'int64', 'int64', 'uint']),
  flock: glibc('flock', 'int', ['int', 'int']),
};

const SYS_openat2 = 437; // the same number on every architecture
const STRUCT_OPEN_HOW_SIZE = 24;
const SYNC_FILE_RANGE_WRITE = 2;
const WRITE_OUT_BYTES = 8 * 1024 * 1024;
const PAGE_BYTES = 4096;

/**
 * Calls open(2), always with O_CLOEXEC. Returns a file descriptor that the caller closes with {@link
 * closeFd}.
 */
export function openFile(path: string, flags: number, mode = 0): number {
  const name = cString(path, 'open');
  return uninterrupted(() => c.open(name, flags | O_CLOEXEC, mode), 'open', path);
}

/**
 * Calls close(2). On Linux the descriptor is closed even if an error is reported, so it is never closed
 * twice.
 */
export function closeFd(fd: number): void {
  strike(fd);
  checked(c.close(fd), 'close', `fd ${fd}`);
}

const LOCK_EX = 2;
const LOCK_UN = 8;

/**
 * Calls flock(2) and waits for the exclusive lock, so never use it on the main thread. The kernel releases
 * the lock when the process dies.
 */
export function lockFile(fd: number): void {
  uninterrupted(() => c.flock(fd, LOCK_EX), 'flock', `fd ${fd}`);
}

const LOCK_NB = 4;

/**
 * Does the same without waiting. Returns false if another process has the lock.
 * @throws PortcullisError if the descriptor cannot be locked
 */
export function tryLockFile(fd: number): boolean {
  try {
    uninterrupted(() => c.flock(fd, LOCK_EX | LOCK_NB), 'flock', `fd ${fd}`);
    return true;
  } catch (thrown) {
    if (isErrno(thrown, 'EAGAIN')) return false;
    throw thrown;
  }
}

/** Releases the lock of {@link lockFile} or {@link tryLockFile}: flock(2). */
export function unlockFile(fd: number): void {
  checked(c.flock(fd, LOCK_UN), 'flock', `fd ${fd}`);
}

/** Writes all of `data` (one write(2) unless the kernel accepts less). */
export function writeFd(fd: number, data: Uint8Array): void {
  let rest = data;
  while (rest.length > 0) {
    const part = rest;
    rest = rest.subarray(uninterrupted(() => c.write(fd, part, part.length), 'write', `fd ${fd}`));
  }
}

export interface OpenInRoot {
  /** O_* of open(2). O_CLOEXEC is added. */
  readonly flags: number;
  /** Mode of a file that O_CREAT creates; not allowed (EINVAL) without O_CREAT. */
  readonly mode?: number;
  /** RESOLVE_*. Default RESOLVE_IN_ROOT: absolute links and `..` stay inside the root. */
  readonly resolve?: number;
}

/**
 * Opens `path` below `root` (a folder's path, or a descriptor of it) with openat2(2). With the default
 * resolve flag no symbolic link, `..` or absolute path leaves the root. A race with a rename (EAGAIN) is
 * retried, at most 100 times.
 * @throws PortcullisError with the error of openat2(2)
 */
export function openInRoot(root: string | number, path: string, options: OpenInRoot): number {
  if (typeof root === 'string') {
    using opened = new DisposableStack();
    const fd = opened.adopt(openFile(root, O_PATH | O_DIRECTORY), closeFd);
    return openInRoot(fd, path, options);
  }
  const result = openat2(root, path, options);
  if (result < 0) throw kernelError(-result, 'openat2', path);
  return result;
}

/**
 * Calls {@link openInRoot}. Returns undefined if nothing exists at `path` (ENOENT, ENOTDIR), without the cost
 * of an exception.
 * @throws PortcullisError with any other error of openat2(2)
 */
export function openInRootIfThere(root: number, path: string, options: OpenInRoot): number | undefined {
  const result = openat2(root, path, options);
  if (result >= 0) return result;
  if (result === -system.errno.ENOENT || result === -system.errno.ENOTDIR) return undefined;
  throw kernelError(-result, 'openat2', path);
}

/** Returns a descriptor, or a negative errno. */
function openat2(root: number, path: string, options: OpenInRoot): number {
  const name = cString(path, 'openat2');
  const how = Buffer.alloc(STRUCT_OPEN_HOW_SIZE);
  how.writeBigUInt64LE(BigInt(options.flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(options.mode ?? 0), 8);
  how.writeBigUInt64LE(BigInt(options.resolve ?? RESOLVE_IN_ROOT), 16);
  for (let races = 0; ;) {
    const result = c.syscall(SYS_openat2, root, name, how, how.length);
    if (result !== -1) return result;
    const errno = lastErrno();
    if (errno === system.errno.EAGAIN) races += 1;
    if ((errno !== system.errno.EAGAIN && errno !== system.errno.EINTR) || races === 100) return -errno;
  }
}

/** Returns a device number in the encoding of glibc's makedev(3). */
function deviceNumber(major: number, minor: number): bigint {
  const high = BigInt(major);
  const low = BigInt(minor);
  return (
    ((high & 0xfffff000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffffff00n) << 12n) | (low & 0xffn)
  );
}

/** Calls mknod(2). `mode` holds type and permission bits (`S_IFCHR | 0o600`). The process's umask applies. */
export function mknod(path: string, mode: number, major: number, minor: number): void {
  checked(c.mknod(cString(path, 'mknod'), mode, deviceNumber(major, minor)), 'mknod', path);
}

/** Creates a named pipe. The process's umask applies. */
export function mkfifo(path: string, mode: number): void {
  checked(c.mknod(cString(path, 'mkfifo'), S_IFIFO | mode, 0), 'mkfifo', path);
}

const NANOSECONDS = 1_000_000_000n;

export interface Times {
  /** Nanoseconds since the epoch; may be negative. */
  readonly mtimeNs: bigint;
  /** Default: `mtimeNs`. */
  readonly atimeNs?: bigint;
  /** Whether a symbolic link is followed. Default: false. */
  readonly follow?: boolean;
}

/** Sets access and modification time with nanosecond precision: utimensat(2). */
export function setTimes(path: string | Buffer, times: Times): void {
  const timespecs = Buffer.alloc(32);
  const values = [times.atimeNs ?? times.mtimeNs, times.mtimeNs];
  values.forEach((ns, index) => {
    const fraction = ((ns % NANOSECONDS) + NANOSECONDS) % NANOSECONDS;
    timespecs.writeBigInt64LE((ns - fraction) / NANOSECONDS, index * 16);
    timespecs.writeBigInt64LE(fraction, index * 16 + 8);
  });
  const flags = times.follow === true ? 0 : AT_SYMLINK_NOFOLLOW;
  const text = typeof path === 'string' ? path : path.toString('latin1');
  const bytes = Buffer.concat([Buffer.from(path), Buffer.alloc(1)]);
  cString(text, 'utimensat');
  checked(c.utimensat(AT_FDCWD, bytes, timespecs, flags), 'utimensat', text);
}

/**
 * Writes all data of the file system that contains `path` to its disk. Does not see errors that were already
 * reported to another caller. Blocks: call it in a Worker.
 */
export function syncfs(path: string): void {
  withOpen(path, O_RDONLY | constants.O_NONBLOCK, (fd) => checked(c.syncfs(fd), 'syncfs', path));
}

/**
 * Does the same for an open descriptor. It fails if writes since the opening of the descriptor failed, even
 * if the failure was already reported to another caller (Linux 5.8 and later). Blocks: call it in a Worker.
 */
export function syncfsOf(fd: number): void {
  checked(c.syncfs(fd), 'syncfs', `fd ${fd}`);
}

/**
 * Returns a function that takes the current size of a growing file, and starts to write the new bytes to the
 * disk, 8 MiB at a time, by sync_file_range(2). It does not wait for the disk, and makes nothing durable: a
 * later fdatasync or syncfs has less to write, and reports what failed. Without it the kernel keeps up to a
 * tenth of the machine's memory, and the disk starts to write only when the writer has finished. A file
 * system without support ignores it. May block while the queue of the disk is full: call it in a Worker.
 */
export function createWriteOut(fd: number): (size: number) => void {
  let started = 0;
  return (size) => {
    if (size - started < WRITE_OUT_BYTES) return;
    // A page that is not full yet would be written twice.
    const end = size - (size % PAGE_BYTES);
    c.syncFileRange(fd, started, end - started, SYNC_FILE_RANGE_WRITE);
    started = end;
  };
}

/** Opens `path`, runs `body`, and closes the descriptor in every case. */
export function withOpen<T>(path: string, flags: number, body: (fd: number) => T): T {
  using opened = new DisposableStack();
  const fd = opened.adopt(openFile(path, flags), closeFd);
  return body(fd);
}

/**
 * Prepares a new descriptor for use and returns it. Closes it if `prepare` throws.
 * @throws the error of `prepare`
 */
export function prepareFd(fd: number, prepare: (fd: number) => void): number {
  try {
    prepare(fd);
    return fd;
  } catch (thrown) {
    closeFd(fd);
    throw thrown;
  }
}
