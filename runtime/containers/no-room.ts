import { statfs } from 'node:fs/promises';
import { PortcullisError, isPortcullisError } from '../../base/errors/index.ts';

/** What a writable layer needs at least, so that a runtime makes the targets of its mounts in it. */
const leastBytes = 64 * 1024;

/**
 * What a runtime said of a container that it did not make, where the disk of its writable layer is full. crun reports a file for which there is no
 * room as one that is not there: the request would be taken for the cause, which nobody repeats.
 * @param folder on the disk of writable layers
 */
export async function orNoRoom(thrown: unknown, folder: string): Promise<unknown> {
  if (!isPortcullisError(thrown) || thrown.code !== 'RUNTIME_CREATE_FAILED' || thrown.kind !== 'precondition') return thrown;
  const { bavail, bsize, files, ffree } = await statfs(folder);
  // Some file systems count no files.
  if (bavail * bsize >= leastBytes && (files === 0 || ffree > 0)) return thrown;
  return new PortcullisError({
    ...thrown.failure,
    kind: 'exhausted',
    why: `no space left on the file system of ${folder}; ${thrown.failure.why}`,
    fix: 'free space on that file system, and repeat the request',
    cause: thrown,
  });
}
