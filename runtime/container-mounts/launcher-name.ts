import { createHash } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { PortcullisError, leavesUnknown } from '../../base/errors/index.ts';
import {
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_WRONLY,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  closeFd,
  isErrno,
  openInRoot,
  fileIdentityOf,
} from '../../base/kernel/index.ts';

/**
 * The path of the launcher, which sets up the rules of a container that Landlock confines. It is in the root
 * folder, because no mount hides that.
 */
export const launcherPath = '/.portcullis-launcher';

const name = launcherPath.slice(1);
const plainly = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/**
 * Creates the empty file that the launcher is mounted on. The file must be new: a runtime follows a link of
 * the image, and the launcher would then be mounted where the container can move it away. No process of the
 * container runs yet, and the file lies directly in its root folder, so the runtime mounts on exactly the
 * file created here.
 * @throws PortcullisError RUNTIME_LAUNCHER_NAME_TAKEN
 */
export function reserveLauncherName(rootfs: string): void {
  try {
    closeFd(
      openInRoot(rootfs, name, {
        flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
        mode: 0o400,
        resolve: plainly,
      }),
    );
  } catch (thrown) {
    if (!isErrno(thrown, 'EEXIST') && !isErrno(thrown, 'ELOOP')) throw thrown;
    throw new PortcullisError({
      code: 'RUNTIME_LAUNCHER_NAME_TAKEN',
      kind: 'precondition',
      attempted: 'reserve the name of the program that sets up Landlock',
      on: launcherPath,
      why: 'the image contains a file of this name, and a container could replace the program through it',
      fix: `build the image without ${launcherPath}`,
    });
  }
}

/**
 * Checks that a command would start through our launcher. A read-only mount of exactly that file must be at
 * its path, with the same content as `launcher`. A mount point cannot be renamed or removed, and no process
 * that Landlock confines can mount or unmount. Therefore the file found here is the file that the runtime
 * executes a moment later.
 * @param root of the container's mount namespace, open
 * @param launcher its file on the host, named by its digest
 * @throws PortcullisError RUNTIME_LAUNCHER_REPLACED
 */
export function checkLauncher(root: number, launcher: string, container: string): void {
  let fd: number;
  try {
    fd = openInRoot(root, name, { flags: O_PATH | O_NOFOLLOW, resolve: plainly });
  } catch (cause) {
    if (leavesUnknown(cause)) throw cause;
    throw replaced(container, 'is gone');
  }
  using opened = new DisposableStack();
  opened.defer(() => closeFd(fd));
  const place = fileIdentityOf(fd);
  if (!place.mountRoot || !place.isFile)
    throw replaced(container, 'is not the mount with which the container was created');
  const path = `/proc/self/fd/${fd}`;
  if (isWritable(path)) throw replaced(container, 'is mounted writable');
  if (createHash('sha256').update(readFileSync(path)).digest('hex') !== basename(launcher))
    throw replaced(container, 'is another program');
}

/** On a read-only mount not even root may write. */
function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code !== 'EROFS';
  }
}

function replaced(container: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_LAUNCHER_REPLACED',
    kind: 'precondition',
    attempted: 'check the program that sets up Landlock in container',
    on: container.slice(0, 13),
    why: `${launcherPath} ${why}, so a command would run without the Landlock rules`,
    fix: 'delete the pod, and find the process of the node or the pod that changed the mounts of this container',
  });
}
