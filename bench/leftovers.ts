import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** Counts links of pods in this network namespace. */
export function veths(): number {
  return readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .filter((line) => /^\s*(veth|pc[0-9a-f]{4,})/.test(line)).length;
}

/**
 * Counts what the kernel still has of pods: mounts with their ids, cgroups below the pod's cgroup, and
 * processes in them.
 */
export function remainsOf(
  pods: readonly { readonly podSandboxId: string; readonly containerId: string; readonly cgroup: string }[],
): number {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
  return pods.filter(
    ({ podSandboxId, containerId, cgroup }) =>
      mounts.includes(podSandboxId) || mounts.includes(containerId) || hasCgroups(cgroup),
  ).length;
}

function hasCgroups(path: string): boolean {
  return readdirSync('/sys/fs/cgroup').some((controller) => {
    const folder = join('/sys/fs/cgroup', controller, path);
    return (
      existsSync(folder) && readdirSync(folder, { withFileTypes: true }).some((entry) => entry.isDirectory())
    );
  });
}

const notTheRuntime =
  /(critimages|images-serve|pods-driver|run-containerd|run-crio|inside\.ts|nsenter|unshare)/;

/**
 * Returns the proportional memory (PSS) of the runtime and all its helpers, in bytes: the processes of this
 * network namespace (daemon, shims, monitors), and those in the pods' cgroups that no pod asked for (pause).
 */
export function memoryOfRuntime(cgroupRoot: string): number {
  const own = readlinkSync('/proc/self/ns/net');
  let bytes = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      const helper =
        readlinkSync(`/proc/${pid}/ns/net`) === own &&
        !notTheRuntime.test(command) &&
        Number(pid) !== process.pid;
      const pause =
        /^\/pause/.test(command) && readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(cgroupRoot);
      if (!helper && !pause) continue;
      bytes +=
        1024 * Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    } catch {
      // The process ended meanwhile.
    }
  }
  return bytes;
}
