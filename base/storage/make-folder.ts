import { mkdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { storageFailure } from './failure.ts';

// Node's own recursive mkdir says ENOENT for a read-only file system, and never returns below /proc.

/**
 * Makes a folder, and those above it that are not there: wherever somebody names one.
 * @param mode of what is made, 0700 unless told, less the umask
 * @returns the uppermost that had to be made, undefined when all were there
 * @throws PortcullisError STORAGE_NO_ACCESS (also where something else has that name), STORAGE_READ_ONLY, STORAGE_DISK_FULL, STORAGE_IO
 */
export async function makeFolder(folder: string, mode = 0o700): Promise<string | undefined> {
  const isThere = (): Promise<boolean> => stat(folder).then((found) => found.isDirectory(), isMissing);
  try {
    if (await isThere()) return undefined;
    const above = dirname(folder) === folder ? undefined : await makeFolder(dirname(folder), mode);
    try {
      await mkdir(folder, { mode });
      return above ?? folder;
    } catch (error) {
      // Another has made it meanwhile, or something else has its name.
      if (hasCode(error, 'EEXIST') && (await isThere())) return above;
      throw error;
    }
  } catch (error) {
    throw storageFailure(error, attempted, folder);
  }
}

/** {@link makeFolder} for a thread that may wait. */
export function makeFolderSync(folder: string, mode = 0o700): void {
  const isThere = (): boolean => statSync(folder, { throwIfNoEntry: false })?.isDirectory() ?? false;
  try {
    if (isThere()) return;
    if (dirname(folder) !== folder) makeFolderSync(dirname(folder), mode);
    try {
      mkdirSync(folder, { mode });
    } catch (error) {
      if (!hasCode(error, 'EEXIST') || !isThere()) throw error;
    }
  } catch (error) {
    throw storageFailure(error, attempted, folder);
  }
}

const attempted = 'make folder';

function isMissing(error: unknown): false {
  if (hasCode(error, 'ENOENT')) return false;
  throw error;
}

const hasCode = (error: unknown, code: string): boolean => error instanceof Error && 'code' in error && error.code === code;
