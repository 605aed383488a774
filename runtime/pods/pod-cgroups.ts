import type { StartProgram } from '../../base/reactor/index.ts';
import type { CgroupDriver } from '../cgroups/cgroup-driver.ts';
import { podCgroup } from '../cgroups/cgroup-driver.ts';
import { removeCgroups } from '../cgroups/cgroup-removal.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import { cgroupProcesses, missingCgroups } from '../cgroups/cgroups.ts';
import { stopSlices } from '../cgroups/systemd-slices.ts';
import type { SandboxRecord } from './record.ts';
import type { SandboxEffects } from './sandbox-effects.ts';

/** Parent cgroups of pods that do not name a parent, by driver. */
const ours = new Set(['/portcullis', '/portcullis.slice']);

/** The effects on the cgroups of pods: their paths, their ownership by this daemon, and their removal. */
export function podCgroups(deps: {
  readonly startProgram: StartProgram;
  readonly cgroups: CgroupMounts;
  readonly cgroupDriver: CgroupDriver;
  readonly sandboxes: () => readonly SandboxRecord[];
}): SandboxEffects['cgroups'] {
  const { cgroups } = deps;
  /** Whether another pod may be about to create a container in a cgroup. */
  const isUsed = (path: string, sandboxId: string): boolean =>
    deps
      .sandboxes()
      .some(
        ({ id, phase, cgroupParent }) =>
          id !== sandboxId &&
          (phase === 'creating' || phase === 'ready') &&
          `${cgroupParent}/`.startsWith(`${path}/`),
      );
  /**
   * Returns the slices that contain no process and that no other pod may be about to use: ending a slice ends
   * everything in it.
   */
  const unused = async (slices: readonly string[], sandboxId: string): Promise<string[]> => {
    const free = slices.filter((slice) => !isUsed(slice, sandboxId));
    const populated = await Promise.all(
      free.map(async (slice) => (await cgroupProcesses(cgroups, slice)).length > 0),
    );
    return free.filter((_, index) => !populated[index]);
  };
  return {
    place: (asked, sandboxId) => podCgroup(deps.cgroupDriver, asked, sandboxId),
    owned: (path) => {
      const known = new Set(deps.sandboxes().flatMap((record) => record.ownedCgroups));
      const prefixes = path.split('/').filter((part) => part !== '');
      const missing = new Set(missingCgroups(cgroups, path));
      // These belong to the daemon, whoever created them.
      return prefixes
        .map((_, index) => '/' + prefixes.slice(0, index + 1).join('/'))
        .filter((prefix) => missing.has(prefix) || known.has(prefix) || ours.has(prefix));
    },
    remove: async ({ id, ownedCgroups: paths }) => {
      // Only systemd may remove its folders, because it would otherwise still rely on them.
      const slices = deps.cgroupDriver === 'systemd' ? paths.filter((path) => path.endsWith('.slice')) : [];
      const ended = await unused(slices, id);
      await stopSlices(deps.startProgram, ended);
      // In the version 1 hierarchies that systemd does not use, the runtime created the folders: they would
      // look like folders of another program.
      const left = cgroups.version === 1 ? ended : [];
      // An OCI runtime creates a container's cgroup folder by folder: its parent must not be removed in
      // between.
      await removeCgroups(
        cgroups,
        [...paths.filter((path) => !slices.includes(path)), ...left],
        (path) => !isUsed(path, id),
      );
    },
  };
}
