import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { storageFailure } from './failure.ts';

/**
 * Makes a folder, and those above it that are not there. Node's own recursive mkdir says ENOENT for a read-only file system, and never
 * returns below /proc: a folder that somebody names is made by this.
 * @param mode of what is made, 0700 unless told, less the umask
 * @throws PortcullisError STORAGE_NO_ACCESS, STORAGE_READ_ONLY, STORAGE_DISK_FULL, STORAGE_IO
 */
export function makeFolder(folder: string, mode = 0o700): void {
  try {
    if (statSync(folder, { throwIfNoEntry: false }) !== undefined) return;
    if (dirname(folder) !== folder) makeFolder(dirname(folder), mode);
    mkdirSync(folder, { mode });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return;
    throw storageFailure(error, 'make folder', folder);
  }
}
