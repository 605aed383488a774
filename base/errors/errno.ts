import { isPortcullisError } from './portcullis-error.ts';
import { nameOfCode } from './unnamed-errno.ts';

/**
 * The meaning of an errno for the object of a failed call, and for the machine:
 *
 * - `gone`: the object does not exist. Nothing else means that.
 * - `shortage`: this process or the machine lacks descriptors, memory, threads or buffers.
 * - `interrupted`: the call was cut off, or would have to wait. A repeated call may succeed.
 * - `disk-full`: no space or no quota is left for a write.
 * - `read-only`: the file system takes no writes.
 * - `no-answer`: the disk, or the server of the file system, did not give the data.
 */
export type ErrnoMeaning = 'gone' | 'shortage' | 'interrupted' | 'disk-full' | 'read-only' | 'no-answer';

/** Sources: errno(3), and the ERRORS sections of open(2), read(2), clone(2), mmap(2) and nfs(5). */
const meanings: Readonly<Record<string, ErrnoMeaning>> = {
  ENOENT: 'gone',
  ESRCH: 'gone',
  EMFILE: 'shortage',
  ENFILE: 'shortage',
  ENOMEM: 'shortage',
  ENOBUFS: 'shortage',
  EAGAIN: 'interrupted',
  EINTR: 'interrupted',
  ENOSPC: 'disk-full',
  EDQUOT: 'disk-full',
  EROFS: 'read-only',
  EIO: 'no-answer',
  EREMOTEIO: 'no-answer',
  ESTALE: 'no-answer',
  ETIMEDOUT: 'no-answer',
};

/** The meanings after which nothing is known about the object: it may exist, and may be whole. */
const unknown: ReadonlySet<ErrnoMeaning | undefined> = new Set<ErrnoMeaning>([
  'shortage',
  'interrupted',
  'no-answer',
]);

/**
 * Returns what an errno name (`ENOENT`) means for every call. Undefined for an errno whose meaning depends on
 * the call, such as ENOTDIR, EACCES or EINVAL.
 */
export function meaningOfErrno(errno: string | undefined): ErrnoMeaning | undefined {
  return errno !== undefined && Object.hasOwn(meanings, errno) ? meanings[errno] : undefined;
}

/** Returns whether a call found damaged data of a file system on the disk. */
export function meansDamagedFileSystem(errno: string): boolean {
  return errno === 'EUCLEAN' || errno === 'EBADMSG';
}

/** Returns the errno name (`ENOENT`) of a failure of Node, of a system call, or of one that wraps it. */
export function errnoOf(thrown: unknown): string | undefined {
  if (isPortcullisError(thrown)) {
    const errno = thrown.failure.details?.['errno'];
    return typeof errno === 'string' && errno !== '' ? errno : undefined;
  }
  if (thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string')
    return nameOfCode(thrown.code);
  return undefined;
}

/** Returns a function that reports whether an error has one of these errno names. */
export function errnoIs(...errnos: readonly string[]): (thrown: unknown) => boolean {
  return (thrown) => errnos.includes(errnoOf(thrown) ?? '');
}

/**
 * Returns whether a failure means that the object does not exist: no such file, or no such process (it ended
 * between open and read). Any other failure, such as EMFILE in a reader without free descriptors, says
 * nothing about that.
 */
export function meansGone(thrown: unknown): boolean {
  return meaningOfErrno(errnoOf(thrown)) === 'gone';
}

/** Does the same for a path, of which a part may also be a file by now (ENOTDIR). */
export function meansNoSuchPath(thrown: unknown): boolean {
  return meansGone(thrown) || errnoOf(thrown) === 'ENOTDIR';
}

/**
 * Returns whether a failure means that this process or the machine has no descriptor or memory left, and
 * nothing else.
 */
export function meansShortage(thrown: unknown): boolean {
  return meaningOfErrno(errnoOf(thrown)) === 'shortage';
}

/**
 * Returns whether a write found no space, or no quota. Some calls report a limit of the kernel by the same
 * errno: mounts, inotify watches, keys, and everything in the file system of cgroups.
 */
export function meansDiskFull(thrown: unknown): boolean {
  return meaningOfErrno(errnoOf(thrown)) === 'disk-full' && !meansKernelLimit(thrown);
}

/** Returns whether ENOSPC or EDQUOT means a limit of the kernel, and no disk. */
function meansKernelLimit(thrown: unknown): boolean {
  if (isPortcullisError(thrown)) return thrown.failure.details?.['limit'] === true;
  const { syscall, path = '' } = thrown as NodeJS.ErrnoException;
  return syscall === 'watch' || path.startsWith('/sys/fs/cgroup/');
}

/**
 * Returns whether a failed check says nothing about its object: the reader had no descriptor or memory, it
 * was interrupted, or the disk or the file server did not answer. Such a failure is passed on, or the check
 * is repeated. It never means that something does not exist.
 */
export function leavesUnknown(thrown: unknown): boolean {
  return unknown.has(meaningOfErrno(errnoOf(thrown)));
}
