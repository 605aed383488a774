import { localFileSystems } from '../../base/kernel/index.ts';
import type { MountLine } from './mountinfo.ts';

/** Reports whether no file system in a mount namespace waits for another host or process. Pure. */
export function areLocal(mounts: readonly Pick<MountLine, 'fstype'>[]): boolean {
  return mounts.length > 0 && mounts.every(({ fstype }) => localFileSystems.has(fstype));
}

/**
 * Reports whether a mount table (proc_pid_mountinfo(5)) shows a container's whole mount namespace: its root
 * is the container's own overlay. A process that has changed its root (chroot(2)) only sees the mounts below
 * it. Pure.
 */
export function isWholeTable(mountinfo: string, container: string): boolean {
  const root = mountinfo.split('\n').find((line) => line.split(' ')[4] === '/');
  return (
    root !== undefined &&
    root.split(' ')[3] === '/' &&
    root.includes(' - overlay ') &&
    root.includes(`/${container}/upper,`)
  );
}
