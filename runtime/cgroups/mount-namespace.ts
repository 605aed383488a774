import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { attempt, leavesUnknown, errnoIs, meansDiskFull, tolerate } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import {
  MNT_DETACH,
  MS_BIND,
  mount,
  setPropagation,
  umount,
  unshareMounts,
} from '../../base/kernel/index.ts';
import { currentBootId } from '../../base/process/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { makeFolderSync } from '../../base/storage/index.ts';
import { runCommand } from '../processes/command.ts';
import { readCgroupMounts } from './cgroups.ts';

const marker = 'PORTCULLIS_OUTER_MOUNTS';
const unified = '/sys/fs/cgroup/unified';
/**
 * A shell command that unmounts version 2 in the caller's own mount namespace. crun still creates folders for
 * it. In the bare mount point they would be the host's and stay forever, and systemd makes it read-only with
 * all of /sys/fs/cgroup. Therefore they go into a file system that ends with the namespace.
 */
export const leaveHybrid =
  'mount --make-rprivate /sys/fs/cgroup && { umount -l /sys/fs/cgroup/unified; ' +
  'mount -t tmpfs -o mode=755 portcullis /sys/fs/cgroup/unified; }';
/**
 * The name of a note in a folder that became a separate mount. The note contains the place and the boot. It
 * outlives a killed daemon, so that the next daemon reuses the mount.
 */
const ownMountFile = 'own-mount.json';

interface OuterNamespace {
  /** The path by which a tool reaches the namespace that the daemon was started in. */
  readonly path: string;
  /** Folders that became separate mounts there, by this run or by a run that was killed. */
  readonly own: readonly string[];
  /** Those of `own` that this run made. */
  readonly made: readonly string[];
}

/** The namespace that this process has left. */
let left: OuterNamespace | undefined;
let hidesUnified = false;

function outerNamespace(): OuterNamespace | undefined {
  const text = process.env[marker];
  return left ?? (text === undefined ? undefined : (parseJson(text) as OuterNamespace));
}

/**
 * Moves the daemon into a separate mount namespace without version 2, with the same pid. crun 1.8 refuses
 * hybrid cgroups while version 2 is mounted beside version 1. Mounts below `folders` must still reach the
 * outer namespace, because a pin that ended with the daemon would lose its pod. Therefore each folder on a
 * private mount first becomes a shared mount. If threads run that resolve paths, which would stay behind, the
 * process executes itself again, and this does not return. Does nothing where no move is needed, and after
 * the move.
 */
export function enterMountNamespace(folders: readonly string[]): void {
  if (left === undefined) {
    if (process.env[marker] !== undefined || !readCgroupMounts().hybrid || !existsSync(unified)) return;
    const made: string[] = [];
    const own = folders.filter((folder) => shareFolder(folder, made));
    if (runsOtherThreads()) return executeAgain(own, made);
    left = leaveNamespace(own, made);
  }
  if (hidesUnified) return;
  // Like `leaveHybrid`, without three programs.
  setPropagation('/sys/fs/cgroup', 'rprivate');
  // Also if a process works in it, or another file system is mounted below it.
  tolerate(errnoIs('EINVAL'), () => umount(unified, MNT_DETACH));
  mount('portcullis', unified, 'tmpfs', 0, 'mode=755');
  hidesUnified = true;
}

function leaveNamespace(own: readonly string[], made: readonly string[]): OuterNamespace {
  const outer = openSync('/proc/self/ns/mnt', 'r');
  try {
    unshareMounts();
  } catch (thrown) {
    closeSync(outer);
    throw thrown;
  }
  return { path: `/proc/${process.pid}/fd/${outer}`, own, made };
}

/**
 * Threads that V8 and Node start in each process, and that resolve no path. They stay in the old namespace.
 */
const helpers: ReadonlySet<string> = new Set(['DelayedTaskSche', 'node-V8Worker', 'SignalInspector']);

/** Returns whether this process has a thread that may resolve a path, besides the main thread. */
function runsOtherThreads(): boolean {
  const resolvesPaths = (thread: string): boolean => {
    try {
      return !helpers.has(readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim());
    } catch (thrown) {
      if (leavesUnknown(thrown)) throw thrown;
      return false;
    }
  };
  return readdirSync('/proc/self/task')
    .filter((thread) => thread !== String(process.pid))
    .some(resolvesPaths);
}

function executeAgain(own: readonly string[], made: readonly string[]): void {
  // Node marks inherited descriptors close-on-exec, so descriptor 9 stays with the daemon and reaches no
  // child.
  const inner = `${leaveHybrid}; exec "$@"`;
  const script = `exec 9</proc/self/ns/mnt; exec unshare -m --propagation unchanged /bin/sh -c '${inner}' sh "$@"`;
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const place: OuterNamespace = { path: `/proc/${process.pid}/fd/9`, own, made };
  process.execve?.('/bin/sh', ['sh', '-c', script, 'sh', ...self], {
    ...process.env,
    [marker]: JSON.stringify(place),
  });
}

/**
 * Removes, at a clean stop, the mounts that {@link enterMountNamespace} made in the outer namespace. Call
 * this only when no mount below them must stay, because the pins and root file systems of pods that keep
 * running would be lost with them.
 */
export async function leaveMountNamespace(startProgram: StartProgram): Promise<void> {
  const outer = outerNamespace();
  if (outer === undefined) return;
  const { path, own } = outer;
  for (const folder of own) {
    await runCommand(startProgram, '/usr/bin/nsenter', [`--mount=${path}`, 'umount', '-l', folder]).catch(
      () => undefined,
    );
    await rm(join(folder, ownMountFile), { force: true });
  }
}

/**
 * Removes the mounts that this run made in the outer namespace, with everything below them. Call this at the
 * end of a process that has never served: an earlier run has nothing below them, and a pod of this run does
 * not exist yet. Synchronous, for the event `exit` of the process.
 */
export function removeNewMounts(): void {
  const { path, made } = outerNamespace() ?? { path: '', made: [] };
  for (const folder of made) {
    spawnSync('/usr/bin/nsenter', [`--mount=${path}`, 'umount', '-l', folder], { stdio: 'ignore' });
    // A note without its mount is not taken for ours.
    attempt(() => rmSync(join(folder, ownMountFile), { force: true }));
  }
}

/**
 * The note that is written before a folder is mounted on itself. A mount ends with its namespace, and with
 * the boot.
 */
interface OwnMount {
  readonly namespace: string;
  readonly bootId: string;
  /** The id of the mount that held the folder before. While it still holds it, our mount was not made. */
  readonly over: string;
}

/**
 * Makes the mount that holds `folder` a shared mount. Returns whether that is a mount of ours. The note is on
 * disk before the mount is made.
 * @param made gets the folder if this call makes the mount
 */
function shareFolder(folder: string, made: string[]): boolean {
  makeFolderSync(folder);
  const [holder, noted] = [holderOf(folder), readNote(folder)];
  const here = { namespace: readlinkSync('/proc/self/ns/mnt'), bootId: currentBootId() };
  const isOurs =
    holder.target === folder &&
    noted?.namespace === here.namespace &&
    noted.bootId === here.bootId &&
    noted.over !== holder.id;
  if (holder.shared) return isOurs;
  if (!isOurs) {
    writeNote(folder, { ...here, over: holder.id });
    mount(folder, folder, '', MS_BIND);
    made.push(folder);
  }
  // The mount is ours but not shared: a daemon was killed between the two steps.
  setPropagation(folder, 'shared');
  return true;
}

/**
 * On a full disk no note is written. A daemon that is then killed leaves a mount behind, which is harmless. A
 * daemon that does not start is worse.
 */
function writeNote(folder: string, note: OwnMount): void {
  const file = join(folder, ownMountFile);
  try {
    writeFileSync(file, JSON.stringify(note), { mode: 0o600 });
  } catch (thrown) {
    if (!meansDiskFull(thrown)) throw thrown;
    rmSync(file, { force: true });
  }
}

function readNote(folder: string): OwnMount | undefined {
  try {
    return parseJson(readFileSync(join(folder, ownMountFile), 'utf8')) as OwnMount;
  } catch (thrown) {
    // Another mount would be laid over ours.
    if (leavesUnknown(thrown)) throw thrown;
    return undefined;
  }
}

/**
 * Returns the mount that holds `folder`, and whether it propagates new mounts to its peers
 * (proc_pid_mountinfo(5), mount_namespaces(7)).
 */
function holderOf(folder: string): {
  readonly id: string;
  readonly target: string;
  readonly shared: boolean;
} {
  const holder = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields[4] === '/' || folder === fields[4] || folder.startsWith(`${fields[4] ?? ''}/`))
    // The longest matching mount point holds it. If several mounts share a mount point, the last one does.
    .reduce(
      (best, fields) => ((fields[4]?.length ?? 0) >= (best[4]?.length ?? 0) ? fields : best),
      [] as string[],
    );
  return {
    id: holder[0] ?? '',
    target: holder[4] ?? '/',
    shared: holder.slice(6).some((field) => field.startsWith('shared:')),
  };
}
