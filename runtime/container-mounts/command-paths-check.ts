import { closeFd, openNamespaceRoot } from '../../base/kernel/index.ts';
import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { checkLauncher } from './launcher-name.ts';
import { checkWorkingDir } from './working-dir.ts';

/**
 * The parts of a container that a command depends on, and that must be as they were at the container's
 * creation. Plain data.
 */
export interface CommandPlace {
  readonly cwd: string;
  /** The launcher's file on the host, if Landlock confines the container's files. */
  readonly launcher?: string;
}

/** Plain data. */
export interface AskedPlace {
  readonly container: string;
  /** The container's first process. */
  readonly init: number;
  readonly place: CommandPlace;
  /** See {@link checkWorkingDir}. */
  readonly runtimeChecks: boolean;
}

/**
 * Checks the launcher and the working directory in the mount namespace of a running container. Synchronous:
 * it may wait for the file system of a volume, and for the file system of the folder that the container's
 * first process uses as its root.
 * @throws PortcullisError RUNTIME_LAUNCHER_REPLACED, RUNTIME_BAD_WORKING_DIR; RUNTIME_CONTAINER_ROOT_UNKNOWN
 */
export function checkPlace({ container, init, place, runtimeChecks }: AskedPlace): void {
  using opened = new DisposableStack();
  const root = opened.adopt(openRoot(init, container), closeFd);
  if (place.launcher !== undefined) checkLauncher(root, place.launcher, container);
  checkWorkingDir({ root, cwd: place.cwd, container, runtimeChecks });
}

function openRoot(pid: number, container: string): number {
  try {
    return openNamespaceRoot(pid).fd;
  } catch (thrown) {
    if (!isPortcullisError(thrown)) throw thrown;
    throw new PortcullisError({
      code: 'RUNTIME_CONTAINER_ROOT_UNKNOWN',
      kind: 'precondition',
      attempted: 'inspect the root of container',
      on: container.slice(0, 13),
      why: reasonOf(thrown),
      fix: 'check whether its first process is still running',
      cause: thrown,
    });
  }
}
