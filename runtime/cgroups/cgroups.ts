import { existsSync, readFileSync } from 'node:fs';
import type { Dirent } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errnoOf, meansNoSuchPath } from '../../base/errors/index.ts';
import { containerIdIn } from './cgroup-driver.ts';

/**
 * The mount points of the cgroup hierarchies: one for each controller in version 1, a single one in version
 * 2.
 */
export interface CgroupMounts {
  readonly version: 1 | 2;
  /** Version 1, with version 2 mounted beside it without the controllers of version 1. */
  readonly hybrid: boolean;
  readonly roots: readonly string[];
  /**
   * A folder that replaces version 2 where the daemon has unmounted it (mount-namespace.ts). crun creates
   * folders in it, but they hold no processes.
   */
  readonly standIn?: string;
}

/**
 * Reads the cgroup mounts of this process (cgroups(7)). It is version 2 if version 2 is mounted at
 * /sys/fs/cgroup itself.
 */
export function readCgroupMounts(mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')): CgroupMounts {
  const mounts = mountinfo
    .split('\n')
    .map((line) => line.split(' '))
    .map((fields) => ({ target: fields[4] ?? '', type: fields[fields.indexOf('-') + 1] ?? '' }));
  const standIn = mounts.findLast((mount) => mount.target === '/sys/fs/cgroup/unified');
  const v2 = mounts.filter((mount) => mount.type === 'cgroup2');
  const v1 = mounts.filter((mount) => mount.type === 'cgroup' && mount.target.startsWith('/sys/fs/cgroup/'));
  if (v1.length === 0) return { version: 2, hybrid: false, roots: ['/sys/fs/cgroup'] };
  return {
    version: 1,
    hybrid: v2.length > 0,
    roots: v1.map((mount) => mount.target),
    ...(standIn?.type === 'tmpfs' && { standIn: standIn.target }),
  };
}

/**
 * Returns the folders of `path` (and its parents below the root) that do not exist in any hierarchy yet,
 * shallowest first.
 */
export function missingCgroups(mounts: CgroupMounts, path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '');
  return parts
    .map((_, index) => '/' + parts.slice(0, index + 1).join('/'))
    .filter((prefix) => !mounts.roots.some((root) => existsSync(join(root, prefix))));
}

/**
 * Returns the pids of all processes in the cgroup and below it, from any hierarchy that has the cgroup.
 * Throws when the cgroup cannot be read, for example without free descriptors.
 */
export async function cgroupProcesses(mounts: CgroupMounts, path: string): Promise<number[]> {
  const pids = new Set<number>();
  const visit = async (folder: string): Promise<void> => {
    const text = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(unlessUnknown(''));
    for (const line of text.split('\n')) if (line !== '') pids.add(Number(line));
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(unlessUnknown<Dirent[]>([])))
      if (entry.isDirectory()) await visit(join(folder, entry.name));
  };
  for (const root of mounts.roots) await visit(join(root, path));
  pids.delete(0);
  return [...pids];
}

/**
 * Finds the cgroups of containers by their names, for containers of which nothing else is known.
 * @returns the paths by the id of the container
 * @throws the error of node:fs when a cgroup cannot be read, for example without free descriptors
 */
export async function containerCgroups(mounts: CgroupMounts): Promise<ReadonlyMap<string, string[]>> {
  const found = new Map<string, string[]>();
  // Each process of a container is in every hierarchy.
  const root = rootOf(mounts, 'freezer') ?? mounts.roots[0] ?? '';
  const visit = async (path: string): Promise<void> => {
    const folder = join(root, path);
    const entries = await readdir(folder, { withFileTypes: true }).catch(unlessUnknown<Dirent[]>([]));
    for (const entry of entries) {
      if (!entry.isDirectory()) continue;
      const below = `${path}/${entry.name}`;
      const id = containerIdIn(entry.name);
      const before = id === undefined ? undefined : found.get(id);
      if (before !== undefined) before.push(below);
      else if (id !== undefined) found.set(id, [below]);
      await visit(below);
    }
  };
  await visit('');
  return found;
}

/**
 * Handles a failed read of a cgroup. Returns `value` when the cgroup does not exist or is being removed
 * (ENOENT, ENOTDIR, ENODEV), or holds only threads (EOPNOTSUPP). After any other error the state of the
 * cgroup is unknown, so that error is rethrown.
 */
export function unlessUnknown<Value>(value: Value): (cause: unknown) => Value {
  return (cause) => {
    const errno = errnoOf(cause);
    if (meansNoSuchPath(cause) || errno === 'ENODEV' || errno === 'EOPNOTSUPP') return value;
    // Node names this number by its other name.
    if (errno === 'ENOTSUP') return value;
    throw cause;
  };
}

/**
 * Returns how many processes of the cgroup, or of a cgroup below it, the kernel killed because memory ran
 * out. Returns 0 when the cgroup does not exist, and fails when the count cannot be read.
 * Sources: kernel, Documentation/admin-guide/cgroup-v2.rst "memory.events"; cgroup-v1/memory.rst
 * "memory.oom_control" (since 4.13).
 */
export async function oomKills(mounts: CgroupMounts, path: string): Promise<number> {
  const file = mounts.version === 2 ? 'memory.events' : 'memory.oom_control';
  const root = mounts.version === 2 ? mounts.roots[0] : rootOf(mounts, 'memory');
  if (root === undefined) return 0;
  const text = await readFile(join(root, path, file), 'utf8').catch(unlessUnknown(''));
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}

/**
 * Returns the mount point of a version 1 controller, which is mounted alone or together with others, as in
 * `cpu,cpuacct`.
 */
export function rootOf(mounts: CgroupMounts, controller: string): string | undefined {
  return mounts.roots.find((root) => basename(root).split(',').includes(controller));
}
