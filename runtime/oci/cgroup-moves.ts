import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import { kernelRelease } from '../../base/kernel/index.ts';
import type { Kernel, KernelRelease } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';

/** What became of the wish for quick cgroup moves: `per-process` is lasting and costs nobody else; `left` changed nothing. */
export type CgroupMoves = 'per-process' | 'left';

/**
 * Lets a process enter a cgroup without the kernel waiting for every processor of the machine: some 10 ms a container where
 * version 1 is mounted. Linux 6.18 locks each process by itself once any hierarchy was mounted with `favordynmods`, until the
 * next boot, so a hierarchy without controllers is mounted and let go at once. Before 6.18 that option made every fork and exit
 * of the machine dearer, which is for its operator to choose (`mount -o remount,favordynmods`): nothing is done there.
 * Sources: kernel, Documentation/admin-guide/cgroup-v2.rst "favordynmods"; cgroup_favor_dynmods() of 6.18.
 */
export async function favourCgroupMoves(
  kernel: Pick<Kernel, 'mount' | 'umount'>,
  folder: string,
  release: KernelRelease = kernelRelease(),
): Promise<CgroupMoves> {
  if (release.major < 6 || (release.major === 6 && release.minor < 18)) return 'left';
  const target = join(folder, 'cgroup-moves');
  await mkdir(target, { recursive: true, mode: 0o700 });
  // One that a killed daemon did not come to let go.
  await kernel.umount(target).catch(() => undefined);
  try {
    await kernel.mount('none', target, 'cgroup', 0, 'none,name=portcullis-moves,favordynmods');
    await kernel.umount(target);
    return 'per-process';
  } catch {
    // A kernel without version 1, or one whose named hierarchies are switched off (cgroup_no_v1=named).
    return 'left';
  } finally {
    await rmdir(target).catch(() => undefined);
  }
}

/** {@link favourCgroupMoves}; a failure costs speed alone, and is only logged. */
export async function tryCgroupMoves(
  kernel: Parameters<typeof favourCgroupMoves>[0],
  state: string,
  log: Pick<Logger, 'debug'>,
): Promise<void> {
  await favourCgroupMoves(kernel, state).then(
    (moves) => log.debug({ moves }, 'cgroup moves'),
    (cause: unknown) => log.debug({ cause: reasonOf(cause) }, 'cgroup moves are left as they are'),
  );
}
