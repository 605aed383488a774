import { existsSync, readFileSync } from 'node:fs';
import { readFile, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Where the hierarchies are mounted: one a controller in version 1, a single one in version 2. */
export interface CgroupMounts {
  readonly version: 1 | 2;
  /** Version 1 with version 2 mounted beside it, without its controllers. */
  readonly hybrid: boolean;
  readonly roots: readonly string[];
}

/** Reads the mounts of this process (cgroups(7)). Version 2 when it is mounted at /sys/fs/cgroup itself. */
export function readCgroupMounts(mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')): CgroupMounts {
  const mounts = mountinfo
    .split('\n')
    .map((line) => line.split(' '))
    .map((fields) => ({ target: fields[4] ?? '', type: fields[fields.indexOf('-') + 1] ?? '' }));
  const v2 = mounts.filter((mount) => mount.type === 'cgroup2');
  const v1 = mounts.filter((mount) => mount.type === 'cgroup' && mount.target.startsWith('/sys/fs/cgroup/'));
  if (v1.length === 0) return { version: 2, hybrid: false, roots: ['/sys/fs/cgroup'] };
  return { version: 1, hybrid: v2.length > 0, roots: v1.map((mount) => mount.target) };
}

/** The folders of `path` (and its parents below the root) that no hierarchy has yet, shallowest first. */
export function missingCgroups(mounts: CgroupMounts, path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '');
  return parts
    .map((_, index) => '/' + parts.slice(0, index + 1).join('/'))
    .filter((prefix) => !mounts.roots.some((root) => existsSync(join(root, prefix))));
}

/** Removes empty cgroups, deepest first, in every hierarchy. One that is in use or gone is passed over. */
export async function removeCgroups(mounts: CgroupMounts, paths: readonly string[]): Promise<void> {
  for (const path of [...paths].sort((a, b) => b.length - a.length)) {
    await Promise.all(mounts.roots.map((root) => rmdir(join(root, path)).catch(() => undefined)));
  }
}

/** Every process in the cgroup and below it, by pid, from any hierarchy that has it. */
export async function cgroupProcesses(mounts: CgroupMounts, path: string): Promise<number[]> {
  const pids = new Set<number>();
  const visit = async (folder: string): Promise<void> => {
    const text = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => '');
    for (const line of text.split('\n')) if (line !== '') pids.add(Number(line));
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => []))
      if (entry.isDirectory()) await visit(join(folder, entry.name));
  };
  for (const root of mounts.roots) await visit(join(root, path));
  pids.delete(0);
  return [...pids];
}

/** Kills everything in a cgroup until it is empty, or 2 s have passed. */
export async function emptyCgroup(mounts: CgroupMounts, path: string): Promise<void> {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const pids = await cgroupProcesses(mounts, path);
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 5 * (attempt + 1)).unref());
  }
}

/** Removes a cgroup with all below it (of a container that is gone). */
export async function removeCgroupTree(mounts: CgroupMounts, path: string): Promise<void> {
  const remove = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => []))
      if (entry.isDirectory()) await remove(join(folder, entry.name));
    await rmdir(folder).catch(() => undefined);
  };
  await Promise.all(mounts.roots.map((root) => remove(join(root, path))));
}
