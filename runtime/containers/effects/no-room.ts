import { statfs } from 'node:fs/promises';
import { PortcullisError, isPortcullisError } from '../../../base/errors/index.ts';

/** The minimum space that a runtime needs for the targets of its mounts, and for its state. */
const leastBytes = 64 * 1024;
/** More files than a monitor removes when its runtime has failed. */
const leastFiles = 16;

/**
 * Returns the error of a runtime or monitor that did not create a container, or an error that says that a
 * disk to which they write is full. crun reports a file for which there is no space as missing, and gives no
 * reason if there is no space for its state: the request would then count as the cause, and a caller would
 * not repeat it. conmon ends without a report.
 * @param folders on the disks of writable layers and of the state of runtimes
 */
export async function orNoRoom(thrown: unknown, folders: readonly string[]): Promise<unknown> {
  if (!isPortcullisError(thrown) || !mayMeanNoRoom(thrown)) return thrown;
  for (const folder of folders) {
    // The error of the runtime says more than that of a folder that cannot be examined.
    const found = await statfs(folder).catch(() => undefined);
    if (found === undefined) continue;
    const { bavail, bsize, files, ffree } = found;
    // Some file systems do not count files.
    if (bavail * bsize >= leastBytes && (files === 0 || ffree >= leastFiles)) continue;
    return new PortcullisError({
      ...thrown.failure,
      kind: 'exhausted',
      why: `no space left on the file system of ${folder}: ${thrown.failure.why}`,
      fix: 'free space on that file system, and repeat the request',
      cause: thrown,
    });
  }
  return thrown;
}

function mayMeanNoRoom({ code, kind }: PortcullisError): boolean {
  return code === 'RUNTIME_CREATE_FAILED' ? kind === 'precondition' : code === 'RUNTIME_MONITOR_FAILED';
}
