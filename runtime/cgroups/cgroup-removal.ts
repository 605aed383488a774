import { readFile, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { attempt, leavesUnknown, meansGone } from '../../base/errors/index.ts';
import type { CgroupMounts } from './cgroups.ts';
import { cgroupProcesses, rootOf } from './cgroups.ts';

/**
 * Removes empty cgroups in every hierarchy, deepest first. Skips a cgroup that is in use or does not exist.
 * @param mayGo called before each attempt
 */
export async function removeCgroups(
  mounts: CgroupMounts,
  paths: readonly string[],
  mayGo: (path: string) => boolean = () => true,
): Promise<void> {
  for (const path of [...paths].sort((a, b) => b.length - a.length)) {
    await Promise.all(foldersOf(mounts, path).map((folder) => removeEmpty(folder, () => mayGo(path))));
  }
}

/** Removes the cgroup of a container that no longer exists, with everything below it. */
export async function removeCgroupTree(mounts: CgroupMounts, path: string): Promise<void> {
  const remove = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(unlessUnknown))
      if (entry.isDirectory()) await remove(join(folder, entry.name));
    await removeEmpty(folder);
  };
  // The stand-in also contains plain files.
  if (mounts.standIn !== undefined) await rm(join(mounts.standIn, path), { recursive: true, force: true });
  await Promise.all(mounts.roots.map((root) => remove(join(root, path))));
}

/**
 * Retries until the cgroup is removed: the kernel may still answer EBUSY after its last process has ended.
 * Skips a cgroup that is in use.
 */
async function removeEmpty(folder: string, mayGo: () => boolean = () => true): Promise<void> {
  for (const waitMs of [0, 1, 5, 25, 125]) {
    if (waitMs > 0) await pause(waitMs);
    if (!mayGo()) return;
    try {
      return await rmdir(folder);
    } catch (thrown) {
      if (meansGone(thrown) || !(await isEmpty(folder))) return;
    }
  }
}

async function isEmpty(folder: string): Promise<boolean> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return (
      !entries.some((entry) => entry.isDirectory()) &&
      (await readFile(join(folder, 'cgroup.procs'), 'utf8')) === ''
    );
  } catch (thrown) {
    unlessUnknown(thrown);
    return false;
  }
}

/**
 * Without free descriptors or memory a cgroup cannot be listed. Its contents stay, and its removal has to be
 * repeated.
 */
function unlessUnknown(thrown: unknown): [] {
  if (leavesUnknown(thrown)) throw thrown;
  return [];
}

function foldersOf({ roots, standIn }: CgroupMounts, path: string): string[] {
  return [...roots, ...(standIn === undefined ? [] : [standIn])].map((root) => join(root, path));
}

/**
 * Kills every process in a cgroup and below it, frozen or not, until it is empty or 2 s have passed. Where
 * the kernel can kill a whole tree at once (version 2, Linux 5.14: cgroup.kill), it does. Elsewhere the tree
 * is frozen first, so that no process forks between the signals.
 * Source: kernel, Documentation/admin-guide/cgroup-v2.rst "cgroup.kill", "cgroup.freeze";
 * cgroup-v1/freezer-subsystem.rst.
 */
export async function emptyCgroup(mounts: CgroupMounts, path: string): Promise<void> {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    if ((await cgroupProcesses(mounts, path)).length === 0) return;
    if (!(await killTree(mounts, path))) await freezeAndSignal(mounts, path);
    await new Promise((resolve) => setTimeout(resolve, 5 * (attempt + 1)).unref());
  }
}

/**
 * Thaws the processes in a cgroup and below it, so that they receive SIGKILL. In version 1 a frozen process
 * does not receive it, and the first process of a PID namespace does not end before all others. In version 2
 * the kernel also ends frozen processes.
 */
export async function thawCgroup(mounts: CgroupMounts, path: string): Promise<void> {
  const root = rootOf(mounts, 'freezer');
  if (mounts.version === 2 || root === undefined) return;
  const thaw = async (folder: string): Promise<void> => {
    await write(join(folder, 'freezer.state'), 'THAWED');
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => []))
      if (entry.isDirectory()) await thaw(join(folder, entry.name));
  };
  await thaw(join(root, path));
}

async function killTree(mounts: CgroupMounts, path: string): Promise<boolean> {
  return mounts.version === 2 && (await write(join(mounts.roots[0] ?? '', path, 'cgroup.kill'), '1'));
}

async function freezeAndSignal(mounts: CgroupMounts, path: string): Promise<void> {
  const [file, freeze, thaw] =
    mounts.version === 2
      ? [join(mounts.roots[0] ?? '', path, 'cgroup.freeze'), '1', '0']
      : [join(rootOf(mounts, 'freezer') ?? '', path, 'freezer.state'), 'FROZEN', 'THAWED'];
  await write(file, freeze);
  try {
    // A process may have ended already.
    for (const pid of await cgroupProcesses(mounts, path)) attempt(() => process.kill(pid, 'SIGKILL'));
  } finally {
    // In version 1 a frozen process receives its signal when it is thawed.
    await write(file, thaw);
  }
}

/** Writes an existing file and reports whether the kernel accepted the value. Never creates a file. */
function write(file: string, value: string): Promise<boolean> {
  return writeFile(file, value, { flag: 'r+' }).then(
    () => true,
    () => false,
  );
}
