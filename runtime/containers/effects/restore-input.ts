import { join } from 'node:path';
import { createTimeoutMs } from '../../monitor/conmon.ts';
import type { RestoreInput } from '../../monitor/conmon.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import type { ContainerRecord } from '../record.ts';

/**
 * Returns how the runtime restores a container; undefined: it creates the container. criu and the processes
 * that it makes inherit what the images cannot be trusted with, or do not contain: the UTS and IPC namespaces
 * of the pod (nsenter(1)), and `no_new_privs`, which a process cannot lose (setpriv(1), prctl(2)). Pure.
 * @param seconds how long a checkpoint may take, and its restore, which writes the same memory
 */
export function restoreInput(
  { restoredFrom, noNewPrivileges, labels = {} }: ContainerRecord,
  sandbox: Pick<SandboxRecord, 'namespacesDir'> | undefined,
  images: string,
  seconds: number,
): RestoreInput | undefined {
  if (restoredFrom === undefined) return undefined;
  const { apparmor, selinux } = labels;
  const pins = sandbox?.namespacesDir ?? '/nonexistent';
  return {
    images,
    timeoutMs: Math.max(createTimeoutMs, seconds * 1_000),
    launcher: [
      ...['nsenter', `--uts=${join(pins, 'uts')}`, `--ipc=${join(pins, 'ipc')}`, '--'],
      ...(noNewPrivileges ? ['setpriv', '--no-new-privs'] : []),
    ],
    // Instead of the labels in the images.
    options: [
      ...(apparmor === undefined || apparmor === 'unconfined'
        ? []
        : ['--lsm-profile', `apparmor:${apparmor}`]),
      ...(selinux === undefined
        ? []
        : ['--lsm-profile', `selinux:${selinux.process}`, '--lsm-mount-context', selinux.mount]),
    ],
  };
}
