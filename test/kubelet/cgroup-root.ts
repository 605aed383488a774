import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/**
 * Creates a cgroup in every hierarchy for use by a kubelet. `remove` also deletes what the kubelet leaves
 * (`kubepods`).
 */
export function makeCgroupRoot(
  driver: 'cgroupfs' | 'systemd',
  name: string,
): { readonly path: string; remove(): void } {
  // Only systemd creates cgroups below slices. Its machine runs only this suite (test/vm).
  if (driver === 'systemd') return { path: '/', remove: () => undefined };
  const roots = hierarchies();
  for (const root of roots) {
    const folder = join(root, name);
    mkdirSync(folder, { recursive: true });
    // A new cpuset is empty and accepts no process until its CPUs and memory nodes are set
    // (cgroup-v1/cpusets).
    if (basename(root) === 'cpuset')
      for (const file of ['cpuset.cpus', 'cpuset.mems'])
        writeFileSync(join(folder, file), readFileSync(join(root, file)));
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
  for (const entry of readdirSync(folder, { withFileTypes: true }))
    if (entry.isDirectory()) removeTree(join(folder, entry.name));
  rmdirSync(folder);
}
