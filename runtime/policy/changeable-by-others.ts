import { stat } from 'node:fs/promises';
import { otherWriters } from '../../base/files/index.ts';

/** A file or folder of the policy that a user other than root can change, and why, as one clause. */
interface ChangeablePath {
  readonly path: string;
  readonly writers: string;
}

/** Returns those of these files and folders that a user other than root can change. Missing ones are none. */
export async function changeableByOthers(paths: readonly string[]): Promise<readonly ChangeablePath[]> {
  const found: ChangeablePath[] = [];
  for (const path of new Set(paths)) {
    const stats = await stat(path).catch(() => undefined);
    const writers = stats === undefined ? undefined : otherWriters(stats);
    if (writers !== undefined) found.push({ path, writers });
  }
  return found;
}
