import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import { kernelRelease } from '../../base/kernel/index.ts';
import type { Kernel, KernelRelease } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';

/**
 * The result of the request for quick cgroup moves. `per-process`: quick moves are on until the next boot, at
 * no cost to other processes. `left`: nothing was changed.
 */
export type CgroupMoves = 'per-process' | 'left';

/**
 * Lets a process enter a cgroup without making the kernel wait for every processor of the machine. This saves
 * about 10 ms per container where version 1 is mounted.
 *
 * Linux 6.18 locks each process separately once any hierarchy was mounted with `favordynmods`, until the next
 * boot. Therefore this function mounts a hierarchy without controllers and unmounts it at once. Before 6.18
 * that option made every fork and exit of the machine more expensive. There the operator has to choose it
 * (`mount -o remount,favordynmods`), and this function does nothing.
 *
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
  // A mount that a killed daemon did not unmount.
  await kernel.umount(target).catch(() => undefined);
  try {
    await kernel.mount('none', target, 'cgroup', 0, 'none,name=portcullis-moves,favordynmods');
    await kernel.umount(target);
    return 'per-process';
  } catch {
    // The kernel has no version 1, or its named hierarchies are disabled (cgroup_no_v1=named).
    return 'left';
  } finally {
    await rmdir(target).catch(() => undefined);
  }
}

/** Calls {@link favourCgroupMoves}. A failure only costs speed, so it is only logged. */
export async function tryCgroupMoves(
  kernel: Parameters<typeof favourCgroupMoves>[0],
  state: string,
  log: Pick<Logger, 'debug'>,
): Promise<void> {
  await favourCgroupMoves(kernel, state).then(
    (moves) => log.debug({ moves }, 'cgroup moves'),
    (cause: unknown) => log.debug({ cause: reasonOf(cause) }, 'cgroup moves could not be made faster'),
  );
}
