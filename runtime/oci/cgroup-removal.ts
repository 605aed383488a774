import { readFile, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { leavesUnknown } from '../../base/kernel/index.ts';
import { meansGone } from '../../base/process/index.ts';
import type { CgroupMounts } from './cgroups.ts';
import { cgroupProcesses, rootOf } from './cgroups.ts';

/**
 * Removes empty cgroups, deepest first, in every hierarchy. One that is in use or gone is passed over.
 * @param mayGo asked before each attempt
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

/** Removes a cgroup with all below it (of a container that is gone). */
export async function removeCgroupTree(mounts: CgroupMounts, path: string): Promise<void> {
  const remove = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(unlessUnknown))
      if (entry.isDirectory()) await remove(join(folder, entry.name));
    await removeEmpty(folder);
  };
  // In the stand-in are plain files as well.
  if (mounts.standIn !== undefined) await rm(join(mounts.standIn, path), { recursive: true, force: true });
  await Promise.all(mounts.roots.map((root) => remove(join(root, path))));
}

/** Until a cgroup is gone: its last process has ended, and the kernel may still answer EBUSY. One that is in use is passed over. */
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
    return !entries.some((entry) => entry.isDirectory()) && (await readFile(join(folder, 'cgroup.procs'), 'utf8')) === '';
  } catch (thrown) {
    unlessUnknown(thrown);
    return false;
  }
}

/** For want of descriptors or memory a cgroup is not listed: what is in it stays, and its removal has to be repeated. */
function unlessUnknown(thrown: unknown): [] {
  if (leavesUnknown(thrown)) throw thrown;
  return [];
}

function foldersOf({ roots, standIn }: CgroupMounts, path: string): string[] {
  return [...roots, ...(standIn === undefined ? [] : [standIn])].map((root) => join(root, path));
}

/**
 * Kills everything in a cgroup and below it, frozen or not, until it is empty or 2 s have passed. The kernel kills a whole tree at once where it
 * can (version 2, Linux 5.14: cgroup.kill); elsewhere the tree is frozen first, so that nothing forks ahead of the signals.
 * Source: kernel, Documentation/admin-guide/cgroup-v2.rst "cgroup.kill", "cgroup.freeze"; cgroup-v1/freezer-subsystem.rst.
 */
export async function emptyCgroup(mounts: CgroupMounts, path: string): Promise<void> {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    if ((await cgroupProcesses(mounts, path)).length === 0) return;
    if (!(await killTree(mounts, path))) await freezeAndSignal(mounts, path);
    await new Promise((resolve) => setTimeout(resolve, 5 * (attempt + 1)).unref());
  }
}

/**
 * Lets what is frozen in a cgroup and below it run on, so that it takes SIGKILL: of version 1 a frozen process does not, and the first process of a
 * PID namespace does not end before all others. In version 2 the kernel ends frozen processes, too.
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
    for (const pid of await cgroupProcesses(mounts, path)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
  } finally {
    // A frozen process of version 1 takes its signal when it is let go.
    await write(file, thaw);
  }
}

/** Whether the file was there and took the value. Never makes one. */
function write(file: string, value: string): Promise<boolean> {
  return writeFile(file, value, { flag: 'r+' }).then(
    () => true,
    () => false,
  );
}
