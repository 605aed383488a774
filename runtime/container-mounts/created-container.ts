import { readFileSync } from 'node:fs';
import { PortcullisError, meansGone, reasonOf, orThrow } from '../../base/errors/index.ts';
import {
  closeFd,
  fileIdentityOf,
  kernelFileSystemOf,
  O_DIRECTORY,
  O_PATH,
  openFile,
  openInRootIfThere,
  RESOLVE_IN_ROOT,
  withOpen,
} from '../../base/kernel/index.ts';
import type { CommandPlace } from './command-paths-check.ts';
import { isAtOrBelow } from './at-or-below.ts';
import { checkLauncher } from './launcher-name.ts';
import { mountShownAt, parseMountinfo } from './mountinfo.ts';
import type { MountLine } from './mountinfo.ts';

/** The parts of a runtime's task that another process could have interfered with. Plain data. */
export interface ContainerPlan {
  /** Resolved destinations that have a volume on their way. */
  readonly throughVolumes: readonly string[];
  readonly maskedPaths: readonly string[];
  readonly place: CommandPlace;
}

/**
 * Inspects a container between its creation and its start. At that time the runtime has made all mounts, and
 * no program of the image runs. Checks that the runtime created what was checked before, because other
 * containers that share a volume could have changed it meanwhile:
 *
 * - Each mount whose path leads through a volume is at its intended place.
 * - No masked path shows a file of procfs or sysfs (CVE-2025-31133: its cover was bound from a link).
 * - The working directory lies in a mount of the container, and not in procfs (CVE-2024-21626).
 * - The launcher is ours.
 * Synchronous: it may wait for the file system of the working directory.
 * @param init the first process, which waits for its start
 * @param mounts of its mount namespace
 * @throws PortcullisError RUNTIME_MADE_OTHERWISE, RUNTIME_LAUNCHER_REPLACED
 */
export function checkMadeContainer(
  container: string,
  init: number,
  plan: ContainerPlan,
  mounts: readonly MountLine[],
): void {
  withOpen(`/proc/${init}/root`, O_PATH | O_DIRECTORY, (root) => {
    const byTarget = Map.groupBy(mounts, ({ target }) => target);
    for (const destination of plan.throughVolumes)
      if (!byTarget.has(destination))
        throw otherwise(
          container,
          `the mount for ${destination} is missing: a volume was changed during the creation`,
        );
    for (const path of plan.maskedPaths) {
      const found = kernelFileSystemAt(root, path, byTarget);
      if (found !== undefined) throw otherwise(container, `${path} must be masked, but shows ${found}`);
    }
    checkCwd(container, init, new Set(mounts.map(({ id }) => id)));
    if (plan.place.launcher !== undefined) checkLauncher(root, plan.place.launcher, container);
  });
}

/**
 * Returns the mounts that a container's first process sees.
 * @throws PortcullisError RUNTIME_CREATE_FAILED when the process no longer exists; a system error when the
 * table cannot be read
 */
export function mountsOf(container: string, init: number): MountLine[] {
  try {
    return parseMountinfo(readFileSync(`/proc/${init}/mountinfo`, 'utf8'));
  } catch (thrown) {
    // EINVAL: it is a zombie, which has no mounts any more.
    if (!meansGone(thrown) && (thrown as NodeJS.ErrnoException).code !== 'EINVAL') throw thrown;
    throw new PortcullisError({
      code: 'RUNTIME_CREATE_FAILED',
      kind: 'internal',
      attempted: 'create container',
      on: container.slice(0, 13),
      why: 'its first process ended before it was started',
      fix: 'repeat the request; the kernel log may show what killed it, such as a lack of memory',
      cause: thrown,
    });
  }
}

/** Returns undefined if nothing exists at the path, and for paths that the runtime covers elsewhere. */
function kernelFileSystemAt(
  root: number,
  path: string,
  byTarget: ReadonlyMap<string, readonly MountLine[]>,
): string | undefined {
  if (!['/proc', '/sys'].some((folder) => isAtOrBelow(path, folder))) return undefined;
  // The usual case, without a lookup for each of about twenty paths.
  const shown = mountShownAt(byTarget, path);
  if (shown !== undefined) return ['proc', 'sysfs'].includes(shown.fstype) ? shown.fstype : undefined;
  const fd = openInRootIfThere(root, path, { flags: O_PATH, resolve: RESOLVE_IN_ROOT });
  if (fd === undefined) return undefined;
  using opened = new DisposableStack();
  opened.defer(() => closeFd(fd));
  return kernelFileSystemOf(fd);
}

function checkCwd(container: string, init: number, mounts: ReadonlySet<string>): void {
  using opened = new DisposableStack();
  const fd = opened.adopt(
    orThrow(
      () => openFile(`/proc/${init}/cwd`, O_PATH | O_DIRECTORY),
      (thrown) => otherwise(container, `its working directory cannot be inspected: ${reasonOf(thrown)}`),
    ),
    closeFd,
  );
  if (!mounts.has(String(fileIdentityOf(fd).mountId)))
    throw otherwise(container, 'its working directory lies outside of the container');
  if (kernelFileSystemOf(fd) === 'proc') throw otherwise(container, 'its working directory lies in /proc');
}

function otherwise(container: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_MADE_OTHERWISE',
    kind: 'precondition',
    attempted: 'check the created container',
    on: container.slice(0, 13),
    why,
    fix: 'find the container of the node that changes a volume of this container, or update the runtime (`portcullis doctor` lists its flaws)',
  });
}
