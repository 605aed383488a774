import { statSync } from 'node:fs';
import {
  closeFd,
  O_DIRECTORY,
  O_PATH,
  openInRootIfThere,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
  withOpen,
} from '../../../base/kernel/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import type { OpenedFile } from '../images/restorable.ts';

type User = OciSpec['process']['user'];
interface FileMode {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

const resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;

/**
 * Returns why a process of the container could not open one of the files itself; undefined: it could. criu
 * opens them as root. Call it while no process uses the root file system.
 */
export function whyNotOpened(
  rootfs: string,
  files: readonly OpenedFile[],
  { user, capabilities }: Pick<OciSpec['process'], 'user' | 'capabilities'>,
): string | undefined {
  const isMighty = capabilities.permitted.includes('CAP_DAC_OVERRIDE');
  return withOpen(rootfs, O_PATH | O_DIRECTORY, (root) => {
    for (const { name, access } of files) {
      const shown = JSON.stringify(name.slice(0, 200));
      const steps = stepsTo(name);
      for (const [index, step] of steps.entries()) {
        const found = modeOf(root, step);
        if (found === undefined) return `the file ${shown} does not exist`;
        if (typeof found === 'string') return `the file ${shown} cannot be reached: ${found}`;
        const wanted = index < steps.length - 1 ? 1 : (access === 1 ? 0 : 4) | (access === 0 ? 0 : 2);
        if (!isMighty && !mayUse(found, user, wanted))
          return `the user ${user.uid} may not open the file ${shown}`;
      }
    }
    return undefined;
  });
}

/**
 * Returns the first path below the root file system that leads through a symbolic link; undefined: none. A
 * path that does not exist leads nowhere. criu mounts by plain paths, outside the container.
 */
export function linkOnTheWay(rootfs: string, paths: readonly string[]): string | undefined {
  return withOpen(rootfs, O_PATH | O_DIRECTORY, (root) =>
    paths.find((path) => typeof modeOf(root, path) === 'string'),
  );
}

/** The folders above a file, from the root, and the file. */
function stepsTo(name: string): string[] {
  const parts = name.split('/').filter((part) => part !== '');
  return ['/', ...parts.map((_, index) => `/${parts.slice(0, index + 1).join('/')}`)];
}

/** @returns undefined: nothing is there. A text: why it cannot be reached without a symbolic link */
function modeOf(root: number, path: string): FileMode | string | undefined {
  let found: number | undefined;
  try {
    found = openInRootIfThere(root, path.replace(/^\/+/, '') || '.', { flags: O_PATH, resolve });
  } catch (cause) {
    return reasonOf(cause);
  }
  if (found === undefined) return undefined;
  using opened = new DisposableStack();
  opened.defer(() => closeFd(found));
  return statSync(`/proc/self/fd/${found}`);
}

/**
 * Whether the bits of a file grant an access (path_resolution(7), "Permissions"). Pure. Access lists are not
 * read: a file that only they open is not restored.
 */
export function mayUse({ uid, gid, mode }: FileMode, user: User, wanted: number): boolean {
  const shift = uid === user.uid ? 6 : gid === user.gid || user.additionalGids.includes(gid) ? 3 : 0;
  return ((mode >> shift) & wanted) === wanted;
}
