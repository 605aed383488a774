import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { MS_BIND, mount, setPropagation } from '../../base/kernel/index.ts';
import { runCommand } from './command.ts';
import { readCgroupMounts } from './cgroups.ts';

const marker = 'PORTCULLIS_OUTER_MOUNTS';

interface OuterNamespace {
  /** How a tool reaches the namespace that the daemon was started in. */
  readonly path: string;
  /** Folders that were made mounts of their own there. */
  readonly own: readonly string[];
}

/**
 * crun 1.8 refuses hybrid cgroups while version 2 is mounted beside version 1. The daemon then moves, with the same pid, into a mount
 * namespace of its own without that mount. Mounts below `folders` must go on reaching the outer namespace (a pin that died with the
 * daemon would lose its pod), so each folder that lies on a private mount becomes a shared one first.
 * Does nothing where there is no need, and in the second pass. Returns only when no move was needed.
 */
export function enterMountNamespace(folders: readonly string[]): void {
  if (process.env[marker] !== undefined || !readCgroupMounts().hybrid || !existsSync('/sys/fs/cgroup/unified')) return;
  const own: string[] = [];
  for (const folder of folders) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (isShared(folder)) continue;
    mount(folder, folder, '', MS_BIND);
    setPropagation(folder, 'shared');
    own.push(folder);
  }
  // Node marks what it inherits close-on-exec, so that descriptor 9 stays with the daemon and reaches no child.
  const inner = 'mount --make-rprivate /sys/fs/cgroup && umount /sys/fs/cgroup/unified; exec "$@"';
  const script = `exec 9</proc/self/ns/mnt; exec unshare -m --propagation unchanged /bin/sh -c '${inner}' sh "$@"`;
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const place: OuterNamespace = { path: `/proc/${process.pid}/fd/9`, own };
  process.execve?.('/bin/sh', ['sh', '-c', script, 'sh', ...self], { ...process.env, [marker]: JSON.stringify(place) });
}

/** Takes back, at a clean stop, what {@link enterMountNamespace} mounted in the outer namespace. */
export async function leaveMountNamespace(): Promise<void> {
  const text = process.env[marker];
  if (text === undefined) return;
  const { path, own } = JSON.parse(text) as OuterNamespace;
  for (const folder of own) await runCommand('nsenter', [`--mount=${path}`, 'umount', '-l', folder]).catch(() => undefined);
}

/** Whether the mount that holds `folder` passes new mounts on to its peers (mount_namespaces(7)). */
function isShared(folder: string): boolean {
  const holder = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields[4] === '/' || folder === fields[4] || folder.startsWith(`${fields[4] ?? ''}/`))
    // The longest mount point holds it; of several on one point the last one.
    .reduce((best, fields) => ((fields[4]?.length ?? 0) >= (best[4]?.length ?? 0) ? fields : best), [] as string[]);
  return holder.slice(6).some((field) => field.startsWith('shared:'));
}
