import { systemError } from '../disk.ts';
import { callSync, machine } from '../machine.ts';
import { inodeOf } from '../descriptors.ts';

/**
 * Replaces `base/kernel` in the image store and its Workers: the kernel calls that they make without their
 * own Worker.
 */
export * from '../../../../base/kernel/index.ts';

export function isMountpoint(path: string): boolean {
  return callSync('read', 'statx', path, () => machine().mounts.has(path));
}

/** Fails once when the disk has lost writes. */
export function syncfsOf(fd: number): void {
  const { scheduler, disk, report, life } = machine();
  inodeOf(fd, 'descriptor of the store');
  if (
    !life.areFaultsStopped() &&
    scheduler.decisions.weigh('the disk loses writes', [4 * life.odds.fail]) > 0
  ) {
    report('  the disk loses writes');
    disk.loseWrites();
    throw systemError('EIO', 'simulated syncfs', '');
  }
  callSync('write', 'syncfs', '', () => disk.syncAll());
}
