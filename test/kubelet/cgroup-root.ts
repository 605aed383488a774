import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** A cgroup in every hierarchy that a kubelet may have for itself; `remove` takes away what it leaves (its own `kubepods`). */
export function makeCgroupRoot(driver: 'cgroupfs' | 'systemd', name: string): { readonly path: string; remove(): void } {
  // Below slices only systemd makes any: its machine is ours alone (test/vm).
  if (driver === 'systemd') return { path: '/', remove: () => undefined };
  const roots = hierarchies();
  for (const root of roots) {
    const folder = join(root, name);
    mkdirSync(folder, { recursive: true });
    // A new cpuset is empty, and takes no process, until it is told (cgroup-v1/cpusets).
    if (basename(root) === 'cpuset')
      for (const file of ['cpuset.cpus', 'cpuset.mems']) writeFileSync(join(folder, file), readFileSync(join(root, file)));
  }
  return { path: `/${name}`, remove: () => roots.forEach((root) => removeTree(join(root, name))) };
}

function hierarchies(): readonly string[] {
  const root = '/sys/fs/cgroup';
  if (existsSync(join(root, 'cgroup.controllers'))) return [root];
  return readdirSync(root).map((name) => join(root, name));
}

function removeTree(folder: string): void {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) if (entry.isDirectory()) removeTree(join(folder, entry.name));
  rmdirSync(folder);
}
