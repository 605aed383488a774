import { mkdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { folderReason } from '../errors/index.ts';
import { storageFailure } from './failure.ts';

// Node's own recursive mkdir reports ENOENT for a read-only file system, and never returns below /proc.

/**
 * Creates a folder and its missing parents. For every folder that a user configures.
 * @param mode of the created folders, default 0700, reduced by the umask
 * @returns the uppermost folder that was created, undefined if all existed
 * @throws PortcullisError STORAGE_NO_ACCESS (also if something else has that name), STORAGE_READ_ONLY,
 * STORAGE_DISK_FULL, STORAGE_IO
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
      // Another process has created it in the meantime, or something else has its name.
      if (hasCode(error, 'EEXIST') && (await isThere())) return above;
      throw error;
    }
  } catch (error) {
    throw storageFailure(error, attempted, folder, folderReason(error, folder));
  }
}

/**
 * Does the same as {@link makeFolder} for a thread that may block.
 * @throws PortcullisError if the folder cannot be created
 */
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
    throw storageFailure(error, attempted, folder, folderReason(error, folder));
  }
}

const attempted = 'make folder';

function isMissing(error: unknown): false {
  if (hasCode(error, 'ENOENT')) return false;
  throw error;
}

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;
