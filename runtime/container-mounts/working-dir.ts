import { PortcullisError } from '../../base/errors/index.ts';
import { whereaboutsOf } from './folder-location.ts';
import type { Whereabouts } from './folder-location.ts';

/**
 * Resolves the working directory in the mount namespace of a running container, as the runtime does a moment
 * later. Refuses a directory that leads into /proc: through /proc/self/fd, a descriptor that the runtime
 * holds becomes a way out (CVE-2024-21626). A link may have been changed since the container was created.
 * Synchronous: it may wait for the file system of a volume.
 *
 * Root may not be allowed to enter a folder that the container's user may enter (NFS with root_squash, FUSE
 * without allow_other). Only the runtime, as that user, can determine what is below such a folder.
 * @param input.root of the mount namespace, open
 * @param input.runtimeChecks whether the runtime itself refuses a working directory outside the container; a
 * directory below a folder that root may not enter is then left to the runtime, and otherwise refused
 * @throws PortcullisError RUNTIME_BAD_WORKING_DIR
 */
export function checkWorkingDir(input: {
  readonly root: number;
  readonly cwd: string;
  readonly container: string;
  readonly runtimeChecks: boolean;
}): void {
  const { root, cwd, container } = input;
  if (cwd === '/') return;
  const found = whereaboutsOf(root, cwd);
  if (found === 'elsewhere' || (found === 'hidden' && input.runtimeChecks)) return;
  throw badWorkingDir(container, cwd, refusals[found]);
}

const refusals: Readonly<Record<Exclude<Whereabouts, 'elsewhere'>, string>> = {
  proc: 'it leads into /proc',
  missing: 'root cannot find this folder, or it leads into /proc',
  hidden:
    'it is below a folder that root may not enter, and this runtime has a flaw by which a link there could lead to the host',
};

/** Returns the error for a working directory that is refused, at creation or before a command. */
export function badWorkingDir(container: string, cwd: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_WORKING_DIR',
    kind: 'precondition',
    attempted: `use working directory ${JSON.stringify(cwd.slice(0, 512))} in container`,
    on: container.slice(0, 13),
    why,
    fix: 'use a directory of the image or of a volume, not reached through /proc',
  });
}
