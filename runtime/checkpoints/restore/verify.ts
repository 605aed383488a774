import { readFile, stat } from 'node:fs/promises';
import {
  closeFd,
  O_DIRECTORY,
  O_PATH,
  openInRootIfThere,
  RESOLVE_IN_ROOT,
  withOpen,
} from '../../../base/kernel/index.ts';
import { cgroupProcesses } from '../../cgroups/cgroups.ts';
import type { CgroupMounts } from '../../cgroups/cgroups.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import type { NamespaceKind } from '../images/rights.ts';
import { beyondSpec } from './compare-kernel.ts';
import { limitsOf, readMounts, readNamespaces, readProcess } from './kernel-rights.ts';

const mostProcesses = 4_096;
/** How long stopped processes may take to get there. */
const stopMs = 10_000;
const lookMs = 20;

/**
 * Compares the processes in the cgroup of a restored container with its specification, by what the kernel
 * shows of them. criu has left them stopped, so that nothing changes meanwhile.
 * @returns what they have beyond it; an empty list: nothing
 */
export async function verifyRestored(
  cgroups: CgroupMounts,
  { init, cgroup, spec }: { readonly init: number; readonly cgroup: string; readonly spec: OciSpec },
): Promise<readonly string[]> {
  // The content of the filter does not matter here: /proc shows only that there is a filter, and criu got
  // only this one.
  const filters = spec.linux.seccomp === undefined ? undefined : [new Uint8Array(8)];
  const look = async (): Promise<readonly string[]> => {
    const pids = await cgroupProcesses(cgroups, cgroup);
    if (pids.length > mostProcesses) return [`it has more than ${mostProcesses} processes`];
    const processes = [];
    for (const pid of pids) processes.push(await readProcess(pid, filters ?? []));
    return beyondSpec(
      {
        processes,
        init,
        mounts: await readMounts(init),
        ofNode: await readNamespaces('/proc/self'),
        joined: await joinedNamespaces(spec),
        present: presentPaths(init, spec),
        inherited: {
          limits: limitsOf(await readFile('/proc/self/limits', 'utf8')),
          oomScoreAdj: Number(await readFile('/proc/self/oom_score_adj', 'utf8')),
        },
        filters,
      },
      spec,
    );
  };
  // A stop takes effect when a process leaves the kernel.
  for (const end = performance.now() + stopMs; ;) {
    const beyond = await look();
    if (!beyond.some((what) => what.includes('instead of T')) || performance.now() > end) return beyond;
    await new Promise((resolve) => setTimeout(resolve, lookMs));
  }
}

const kinds: Readonly<Record<string, NamespaceKind>> = { network: 'net', ipc: 'ipc', uts: 'uts', pid: 'pid' };

async function joinedNamespaces(spec: OciSpec): Promise<Partial<Record<NamespaceKind, number>>> {
  const joined: Partial<Record<NamespaceKind, number>> = {};
  for (const { type, path } of spec.linux.namespaces) {
    const kind = kinds[type];
    if (path !== undefined && kind !== undefined) joined[kind] = (await stat(path)).ino;
  }
  return joined;
}

/** Returns the masked and read-only paths that exist in a container. */
function presentPaths(init: number, { linux }: OciSpec): ReadonlySet<string> {
  return withOpen(
    `/proc/${init}/root`,
    O_PATH | O_DIRECTORY,
    (root) =>
      new Set(
        [...linux.maskedPaths, ...linux.readonlyPaths].filter((path) => {
          const found = openInRootIfThere(root, path, { flags: O_PATH, resolve: RESOLVE_IN_ROOT });
          if (found !== undefined) closeFd(found);
          return found !== undefined;
        }),
      ),
  );
}
