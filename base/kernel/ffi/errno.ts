import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';
import { PortcullisError, textOfErrno } from '../../errors/index.ts';
import type { ErrorKind } from '../../errors/index.ts';
import { lastErrno } from './libc.ts';

/** The code of a failed system call: `KERNEL_` and the errno's name. */
export type KernelCode = `KERNEL_${string}`;

// If one number has two names, the name used by the manual pages wins. Missing from Node's table: ENOTBLK,
// ESHUTDOWN, EUCLEAN (a damaged or non-empty structure).
const names = new Map<number, string>([
  [15, 'ENOTBLK'],
  [108, 'ESHUTDOWN'],
  [117, 'EUCLEAN'],
]);
for (const [name, number] of Object.entries(constants.errno)) names.set(number, name);
names.set(constants.errno.EAGAIN, 'EAGAIN');
names.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP');

const numbers = new Map<string, number>([...names].map(([number, name]) => [name, number]));
for (const [name, number] of Object.entries(constants.errno)) numbers.set(name, number);

/** Returns the name of an errno (`ENOENT`), or `ERRNO_n` for a number without a name. */
export function errnoName(number: number): string {
  return names.get(number) ?? `ERRNO_${number}`;
}

const kinds: Readonly<Record<string, ErrorKind>> = {
  ENOENT: 'not-found',
  ESRCH: 'not-found',
  ENODATA: 'not-found',
  EEXIST: 'already-exists',
  EINVAL: 'invalid',
  ENAMETOOLONG: 'invalid',
  ENOSPC: 'exhausted',
  EDQUOT: 'exhausted',
  EMFILE: 'exhausted',
  ENFILE: 'exhausted',
  ENOMEM: 'exhausted',
  ENOBUFS: 'exhausted',
  EAGAIN: 'unavailable',
  EBUSY: 'unavailable',
  ECONNREFUSED: 'unavailable',
  ETIMEDOUT: 'deadline',
  EPERM: 'precondition',
  EACCES: 'precondition',
  ENOSYS: 'precondition',
  EOPNOTSUPP: 'precondition',
  EROFS: 'precondition',
  EXDEV: 'precondition',
  ELOOP: 'precondition',
  ENOTDIR: 'precondition',
  ENOTEMPTY: 'precondition',
  EIO: 'data-loss',
  EUCLEAN: 'data-loss',
  EBADMSG: 'data-loss',
};

const fixes: Readonly<Record<string, string>> = {
  ENOENT: 'check that every part of the path exists',
  EEXIST: 'remove the existing entry first',
  EPERM: 'run as root; a container or a unit of systemd may also withhold the capability for this call',
  EACCES: 'run as root, or give this user access',
  ENOSYS: 'use a kernel that has this system call; `portcullis doctor` lists the features',
  EOPNOTSUPP: 'use a file system and a kernel with this feature; `portcullis doctor` lists them',
  ENOSPC: 'free space or inodes on the file system, or raise the kernel limit',
  EDQUOT: 'raise the quota',
  EMFILE: 'raise the limit of open files of this process',
  ENFILE: 'raise fs.file-max',
  ENOMEM: 'free memory or raise the memory limit',
  EBUSY: 'stop what still uses it, then try again',
  EROFS: 'use a writable file system',
  EXDEV: 'unmount the file systems below it, or stay within one file system',
  EIO: 'check the disk and the kernel log',
  EUCLEAN: 'check the disk and the kernel log',
  EBADMSG: 'check the disk and the kernel log',
  ELOOP: 'remove the symbolic link from the path',
};

const mounts = 'raise fs.mount-max (sysctl), or unmount what is not used';
const ownedKeys = 'raise kernel.keys.maxkeys and maxbytes (sysctl), for root root_maxkeys and root_maxbytes';
/** The remedy for calls whose ENOSPC or EDQUOT concerns a limit of the kernel, and no disk. */
const limitFixes: Readonly<Record<string, string>> = {
  fanotify_mark: 'raise fs.fanotify.max_user_marks (sysctl)',
  keyctl: ownedKeys,
  mount: mounts,
  move_mount: mounts,
  open_tree: mounts,
  unshare: 'raise the limits user.max_*_namespaces (sysctl), or end programs that hold namespaces',
};

const processes =
  'raise the limit that is reached: pids.max of the cgroup (TasksMax of the unit), the limit of processes of the user, or kernel.pid_max and kernel.threads-max (sysctl)';

/** Returns the remedy if the errno of this call means a limit of the kernel. */
function limitFix(name: string, call: string): string | undefined {
  if (name === 'EAGAIN') return call === 'posix_spawn' ? processes : undefined;
  if (name !== 'ENOSPC' && name !== 'EDQUOT') return undefined;
  return Object.hasOwn(limitFixes, call) ? limitFixes[call] : undefined;
}

/**
 * Returns the error of system call `call` on `on`, by its errno. `why` and `fix` replace the default texts of
 * the errno when more is known.
 */
export function kernelError(
  errno: string | number,
  call: string,
  on: string,
  why?: string,
  fix?: string,
): PortcullisError<KernelCode> {
  const name = typeof errno === 'number' ? errnoName(errno) : errno;
  const number = typeof errno === 'number' ? errno : numbers.get(errno);
  const limit = limitFix(name, call);
  const text =
    limit !== undefined
      ? `a limit of ${limit === processes ? 'processes' : 'the kernel'} is reached`
      : number === undefined
        ? name
        : textOfErrno(getSystemErrorMessage(-number));
  return new PortcullisError({
    code: `KERNEL_${name}`,
    kind: kinds[name] ?? 'internal',
    attempted: call,
    on,
    why: why ?? `${text} (${name})`,
    fix: fix ?? limit ?? fixes[name] ?? 'see the manual page of the system call and the kernel log',
    details: { errno: name, call, ...(limit !== undefined && { limit: true }) },
  });
}

/**
 * Returns `result` unless it is -1, the sign of a failed call. Then it throws the error of errno.
 * @throws PortcullisError KERNEL_ and the name of errno
 */
export function checked(result: number, call: string, on: string): number {
  if (result === -1) throw kernelError(lastErrno(), call, on);
  return result;
}

/**
 * Does the same as {@link checked} for a call that a signal may interrupt: it repeats the call after EINTR.
 * @throws PortcullisError as {@link checked}
 */
export function uninterrupted(attempt: () => number, call: string, on: string): number {
  for (;;) {
    const result = attempt();
    if (result !== -1) return result;
    const errno = lastErrno();
    if (errno !== constants.errno.EINTR) throw kernelError(errno, call, on);
  }
}

/**
 * Returns `text` as a C string. A NUL inside would silently truncate it, so such a text is refused.
 * @throws PortcullisError KERNEL_EINVAL
 */
export function cString(text: string, call: string): string {
  if (text.includes('\0'))
    throw kernelError('EINVAL', call, JSON.stringify(text), 'the text contains a NUL byte');
  return text;
}

/** Returns whether `thrown` is the kernel error of one of these errno names. */
export function isErrno(thrown: unknown, ...errnos: string[]): boolean {
  return thrown instanceof PortcullisError && errnos.some((name) => thrown.code === `KERNEL_${name}`);
}
