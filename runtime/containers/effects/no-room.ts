import { statfs } from 'node:fs/promises';
import { PortcullisError, isPortcullisError } from '../../../base/errors/index.ts';

/**
 * The minimum space that a writable layer needs, so that a runtime can create the targets of its mounts in
 * it.
 */
const leastBytes = 64 * 1024;

/**
 * Returns the error of a runtime that did not create a container, or an error that says that the disk of its
 * writable layer is full. crun reports a file for which there is no space as missing: the request would then
 * count as the cause, and a caller would not repeat it.
 * @param folder on the disk of writable layers
 */
export async function orNoRoom(thrown: unknown, folder: string): Promise<unknown> {
  if (!isPortcullisError(thrown) || thrown.code !== 'RUNTIME_CREATE_FAILED' || thrown.kind !== 'precondition')
    return thrown;
  const { bavail, bsize, files, ffree } = await statfs(folder);
  // Some file systems do not count files.
  if (bavail * bsize >= leastBytes && (files === 0 || ffree > 0)) return thrown;
  return new PortcullisError({
    ...thrown.failure,
    kind: 'exhausted',
    why: `no space left on the file system of ${folder}: ${thrown.failure.why}`,
    fix: 'free space on that file system, and repeat the request',
    cause: thrown,
  });
}
