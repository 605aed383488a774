import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { meansGone } from '../../../base/errors/index.ts';
import { MNT_DETACH, isErrno } from '../../../base/kernel/index.ts';
import type { Kernel } from '../../../base/kernel/index.ts';
import { processIdentity } from '../../../base/process/index.ts';
import type { ProcessIdentity } from '../../../base/process/index.ts';
import { cgroupProcesses } from '../../cgroups/cgroups.ts';
import type { CgroupMounts } from '../../cgroups/cgroups.ts';
import { mountPointsBelow, parseMountinfo } from '../../container-mounts/mountinfo.ts';
import { signalProcess } from '../../processes/processes.ts';

const SIGCONT = 18;

/**
 * Continues the processes of a restored container, which criu has left stopped. The first process is the
 * last: while it is stopped, the container has not started. Repeated: success.
 */
export async function continueRestored(
  cgroups: CgroupMounts,
  path: string,
  init: ProcessIdentity | undefined,
): Promise<void> {
  for (const pid of await cgroupProcesses(cgroups, path))
    if (pid !== init?.pid) signalProcess(processIdentity(pid), SIGCONT);
  signalProcess(init, SIGCONT);
}

/** Whether a process is stopped (proc_pid_stat(5)). */
export function isStopped(identity: ProcessIdentity | undefined): boolean {
  try {
    const stat = readFileSync(`/proc/${identity?.pid ?? 0}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
  } catch (cause) {
    if (meansGone(cause)) return false;
    throw cause;
  }
}

/**
 * Removes what a runtime that was killed during a restore has left: mounts in its state and in the bundle,
 * and its state itself. Call it when no process of the restore is left.
 */
export async function removeRestoreRemains(
  kernel: Pick<Kernel, 'umount'>,
  stateFolder: string | undefined,
  bundle: string,
): Promise<void> {
  const lines = parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'));
  for (const folder of [stateFolder ?? bundle, bundle])
    for (const place of mountPointsBelow(lines, folder).toReversed())
      await kernel.umount(place, MNT_DETACH).catch((cause: unknown) => {
        // A mount that was below one that is detached already.
        if (!isErrno(cause, 'EINVAL', 'ENOENT')) throw cause;
      });
  if (stateFolder !== undefined) await rm(stateFolder, { recursive: true, force: true });
}
