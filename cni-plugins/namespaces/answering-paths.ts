import { readFileSync, readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PortcullisError, errnoOf, meansGone, meansShortage } from '../../base/errors/index.ts';
import {
  cachedFile,
  localFileSystems,
  namedFile,
  O_DIRECTORY,
  O_PATH,
  withOpen,
} from '../../base/kernel/index.ts';
import { ownNamespace } from './netns.ts';
import { probePath } from './path-probe.ts';

/**
 * Keeps the engine's only thread from a path whose file system does not answer: the thread would wait for
 * ever, and all pods with it. A path whose folders are all on file systems of this machine is opened at once.
 * For any other path a process of its own asks first.
 */
export interface AnsweringPaths {
  /**
   * Asks the file systems of paths that may not answer, in processes of their own.
   * @returns undefined if no path needs a question. The promise never rejects.
   */
  ask(paths: readonly string[], root: Root): Promise<void> | undefined;
  /**
   * Call it before the path is opened. Never waits. If the answer is not known, it is asked for in the
   * background.
   * @throws NETWORK_PATH_NO_ANSWER
   */
  check(path: string, root: Root): void;
}

/** Where absolute paths begin. */
export interface Root {
  /** Descriptor of the caller's root folder. Absent: the root of this process. */
  readonly fd?: number;
  /** The process whose mount table shows the file systems. Absent: this one. */
  readonly pid?: number;
}

/** An answer is trusted for this time. A server that dies within it blocks the thread. */
const trustedMs = 5_000;
/** A file system that did not answer is asked in the background only after this time. */
const restMs = 30_000;

interface Asked {
  readonly answered: Promise<boolean>;
  /** Set when the answer did not come in time. The process may still wait in the kernel. */
  isLate?: true;
}

export function createAnsweringPaths(): AnsweringPaths {
  const tables = createMountTables();
  /** By device: the question under way, and the times of the last answer and of the last silence. */
  const underWay = new Map<string, Asked>();
  const answeredAt = new Map<string, number>();
  const silentAt = new Map<string, number>();
  const isWithin = (at: number | undefined, ms: number): boolean =>
    at !== undefined && performance.now() - at < ms;

  const question = (device: string, path: string, { fd }: Root): Promise<boolean> => {
    const before = underWay.get(device);
    if (before !== undefined) return before.isLate === true ? Promise.resolve(false) : before.answered;
    const probe = probePath(path, fd);
    const answered = probe.answered.then((isAnswered) => {
      (isAnswered ? answeredAt : silentAt).set(device, performance.now());
      (isAnswered ? silentAt : answeredAt).delete(device);
      if (!isAnswered) asked.isLate = true;
      return isAnswered;
    });
    const asked: Asked = { answered };
    underWay.set(device, asked);
    void probe.ended.then(() => underWay.delete(device));
    return answered;
  };

  return {
    ask(paths, root) {
      const questions = new Map<string, string>();
      for (const path of paths) {
        const device = path === '' ? undefined : foreignDevice(path, root, tables);
        if (device !== undefined && !questions.has(device)) questions.set(device, path);
      }
      if (questions.size === 0) return undefined;
      return Promise.all([...questions].map(([device, path]) => question(device, path, root))).then(
        () => undefined,
      );
    },
    check(path, root) {
      const device = foreignDevice(path, root, tables);
      if (device === undefined || isWithin(answeredAt.get(device), trustedMs)) return;
      if (!isWithin(silentAt.get(device), restMs)) void question(device, path, root);
      throw noAnswer(path);
    },
  };
}

/** As the kernel, which follows at most 40 links. */
const mostLinks = 40;

/**
 * Returns the first device on the way to a path that may depend on a server, or undefined if there is none,
 * also if nothing exists at the path. It asks no file system but those of this machine.
 */
function foreignDevice(path: string, root: Root, tables: MountTables): string | undefined {
  try {
    return findForeignDevice(path, root, tables);
  } catch (thrown) {
    if (meansShortage(thrown)) throw thrown;
    // The same failure awaits whoever opens the path, and needs no server.
    return undefined;
  }
}

function findForeignDevice(path: string, root: Root, tables: MountTables): string | undefined {
  const isLocal = tables.of(root);
  if (root.fd !== undefined) return walk(path, root.fd, isLocal);
  const found = path.startsWith('/') ? cachedFile(path, { followLink: true }) : undefined;
  if (found === 'missing' || (found !== undefined && isLocal(found.device))) return undefined;
  return withOpen('/', O_PATH | O_DIRECTORY, (fd) => walk(path, fd, isLocal));
}

function walk(path: string, root: number, isLocal: (device: string) => boolean): string | undefined {
  let rest = path.split('/');
  let done = '/';
  for (let links = 0; rest.length > 0;) {
    const name = rest.shift() ?? '';
    if (name === '' || name === '.') continue;
    if (name === '..') {
      done = dirname(done);
      continue;
    }
    const next = join(done, name);
    const file = namedFile(root, next.slice(1));
    if (file === undefined) return undefined;
    if (!isLocal(file.device)) return file.device;
    if (!file.isLink) {
      done = next;
      continue;
    }
    links += 1;
    if (links > mostLinks) return undefined;
    // For a link of the kernel in /proc, this is the path of the file to which it leads.
    const target = readlinkSync(`/proc/self/fd/${root}${next}`);
    if (target.startsWith('/')) done = '/';
    rest = [...target.split('/'), ...rest];
  }
  return undefined;
}

interface MountTables {
  /** Returns whether a device depends on no server, according to the mount table of the root's process. */
  of(root: Root): (device: string) => boolean;
}

/** How long a mount table counts as current. */
const freshMs = 1_000;

function createMountTables(): MountTables {
  /** By mount namespace, because each plugin is a process of its own. */
  const tables = new Map<string, { readonly at: number; readonly local: ReadonlySet<string> }>();
  const tableOf = (process: string): ReadonlySet<string> => {
    const key = mountNamespaceOf(process);
    if (key === undefined) return tableOf('self');
    const now = performance.now();
    const known = tables.get(key);
    if (known !== undefined && now - known.at < freshMs) return known.local;
    for (const [other, { at }] of tables) if (now - at >= freshMs) tables.delete(other);
    const local = localDevices(process);
    if (local === undefined) return tableOf('self');
    tables.set(key, { at: now, local });
    return local;
  };
  return {
    of({ pid }) {
      let local: ReadonlySet<string> | undefined;
      return (device) =>
        device === namespaceDevice() ||
        (local ??= tableOf(pid === undefined ? 'self' : String(pid))).has(device);
    },
  };
}

/** Returns the device of all pinned namespaces (nsfs), whose major number is 0. */
const namespaceDevice = (): string => `0:${ownNamespace().dev}`;

/** Returns undefined if the process has ended: its paths are still open, in most cases in our namespace. */
function mountNamespaceOf(process: string): string | undefined {
  return unlessEnded(process, () => readlinkSync(`/proc/${process}/ns/mnt`));
}

/**
 * proc_pid_mountinfo(5): the device is the third field, the type follows ` - `.
 * @returns undefined if the process has ended
 */
function localDevices(process: string): ReadonlySet<string> | undefined {
  const table = unlessEnded(process, () => readFileSync(`/proc/${process}/mountinfo`, 'utf8'));
  if (table === undefined || (table === '' && process !== 'self')) return undefined;
  const local = new Set<string>();
  for (const line of table.split('\n')) {
    const device = line.split(' ', 3)[2];
    const type = / - (\S+)/u.exec(line)?.[1];
    if (device !== undefined && type !== undefined && localFileSystems.has(type)) local.add(device);
  }
  return local;
}

function unlessEnded(process: string, read: () => string): string | undefined {
  try {
    return read();
  } catch (thrown) {
    if (process === 'self' || !(meansGone(thrown) || errnoOf(thrown) === 'EINVAL')) throw thrown;
    return undefined;
  }
}

function noAnswer(path: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PATH_NO_ANSWER',
    kind: 'deadline',
    attempted: 'look up',
    on: path.slice(0, 512),
    why: 'its file system does not answer, or was not asked before',
    fix: 'check whether the server of that file system answers (`mount`, `ls` in the folder), or unmount it: `umount --lazy --force`; then repeat the call',
  });
}
