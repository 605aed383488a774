import type { Fault, FaultKind, Hit } from './orders.ts';

const space = ['ENOSPC', 'EIO', 'EDQUOT'];
const names = ['ENOSPC', 'EIO'];
const removal = ['EIO', 'EBUSY'];
const facts = ['EIO', 'ENOMEM'];
const descriptors = ['EMFILE', 'ENFILE', 'ENOMEM'];
const mounts = ['ENOMEM', 'ENOSPC', 'EIO'];
const processes = ['EAGAIN', 'ENOMEM', 'EMFILE'];

/** SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC (sqlite.org/rescode.html). */
const database = ['13', '778', '1034'];

/**
 * The errors of a call of a point. The real calls fail with each of these, so the product has to handle every
 * one.
 */
export const errorsOf: Readonly<Record<string, readonly string[]>> = {
  'fs.open': ['ENOSPC', 'EIO', ...descriptors],
  'fs.write': space,
  'fs.writeFile': space,
  'fs.appendFile': space,
  'fs.truncate': ['EIO'],
  'fs.ftruncate': ['EIO'],
  'fs.sync': names,
  'fs.fsync': names,
  'fs.datasync': names,
  'fs.mkdir': names,
  'fs.mkdtemp': names,
  'fs.rename': names,
  'fs.link': names,
  'fs.symlink': names,
  'fs.cp': names,
  'fs.copyFile': names,
  'fs.rm': removal,
  'fs.rmdir': removal,
  'fs.unlink': ['EIO'],
  'fs.chmod': facts,
  'fs.chown': facts,
  'fs.lchown': facts,
  'fs.fchmod': facts,
  'fs.fchown': facts,
  'fs.futimes': facts,
  'fs.lutimes': facts,
  'fs.utimes': facts,
  'sqlite.BEGIN': ['5', '10'],
  'sqlite.COMMIT': database,
  'sqlite.run': database,
  'sqlite.all': database,
  'sqlite.PRAGMA': ['778'],
  // The errors without free descriptors: for all other errors Node expects that the pipes exist.
  spawn: ['EMFILE', 'ENFILE'],
  posix_spawn: processes,
  pipe2: descriptors,
  pidfd_open: descriptors,
  mount: mounts,
  umount2: ['EBUSY', 'EIO', 'ENOMEM'],
  open_tree: [...mounts, 'EMFILE'],
  mount_setattr: ['ENOMEM', 'EIO'],
  move_mount: mounts,
  fsopen: descriptors,
  fsconfig: ['ENOMEM', 'EIO'],
  fsmount: ['ENOMEM', 'EMFILE', 'EIO'],
  unshare: ['ENOMEM', 'ENOSPC'],
  setns: ['ENOMEM'],
  mknod: names,
  write: ['ENOSPC', 'EIO'],
  syncfs: names,
  fsync: names,
  utimensat: facts,
  setxattr: space,
  lsetxattr: space,
  unlinkat: removal,
  memfd_create: descriptors,
  'netlink.send': ['ENOBUFS', 'ENOMEM'],
  'socket.send': ['ENOBUFS'],
};

const opening = ['EMFILE', 'ENFILE', 'EIO'];
const looking = ['EIO', 'ENOMEM'];

/** The same for calls that only read. None of these errors means that something does not exist. */
export const readErrorsOf: Readonly<Record<string, readonly string[]>> = {
  'fs.openToRead': opening,
  'fs.readFile': opening,
  'fs.readdir': opening,
  'fs.opendir': opening,
  'fs.stat': looking,
  'fs.lstat': looking,
  'fs.statfs': looking,
  'fs.readlink': looking,
  'fs.realpath': looking,
  'fs.access': looking,
  open: opening,
  openat2: opening,
};

/** Every call in the separate process that resolves paths (runtime/host-paths) counts as a read. */
export const lookUpThread = 'look-up';
export const isRead = ({ thread, point }: Pick<Hit, 'thread' | 'point'>): boolean =>
  thread === lookUpThread || point in readErrorsOf;

/**
 * Calls that can take effect and still report a failure: written data may be kept although the disk reports
 * an error.
 */
const failsAfter = /^(?:fs\.(?!open$)|sqlite\.(?:COMMIT)$|netlink\.send$|syncfs$|fsync$)/;

/** Points where nothing is written: a thread may be late or end there. */
const turns: Readonly<Record<string, readonly FaultKind[]>> = {
  message: ['delay', 'end'],
  epoll_wait: ['end'],
};

/** Returns every kind of fault that a point may have in a thread. */
export function kindsOf(thread: string, point: string): readonly FaultKind[] {
  const own = turns[point];
  if (own !== undefined) return own;
  if (isRead({ thread, point })) return ['error'];
  const ends: readonly FaultKind[] = thread === 'main' ? [] : ['end', 'end-after'];
  const fails: readonly FaultKind[] =
    errorsOf[point] === undefined ? [] : failsAfter.test(point) ? ['error', 'after'] : ['error'];
  // Errors are drawn as often as all others together.
  return [...fails, ...fails, 'delay', ...ends, 'kill', 'kill-after'];
}

const delays = [20, 200, 2_000];

/**
 * Draws one of the recorded calls: first a point in a thread, then one of its calls, a kind of fault, and its
 * error.
 */
export function drawFault(random: () => number, recorded: readonly Hit[]): Fault {
  const calls = new Map<string, number>();
  for (const { thread, point } of recorded)
    calls.set(`${thread}/${point}`, (calls.get(`${thread}/${point}`) ?? 0) + 1);
  const pick = <T>(list: readonly T[]): T => {
    const chosen = list[Math.floor(random() * list.length)];
    if (chosen === undefined) throw new RangeError('no point was recorded');
    return chosen;
  };
  // Sorted: the order in which threads ran must not change what a seed draws.
  const [name, count] = pick([...calls].sort(([a], [b]) => (a < b ? -1 : 1)));
  const [thread = '', point = ''] = name.split('/');
  const nth = 1 + Math.floor(random() * count);
  const kind = pick(kindsOf(thread, point));
  const error = pick(errorsOf[point] ?? readErrorsOf[point] ?? ['']);
  const delayMs = pick(delays);
  const fails = kind === 'error' || kind === 'after';
  return { thread, point, nth, kind, error: fails ? error : '', delayMs: kind === 'delay' ? delayMs : 0 };
}
