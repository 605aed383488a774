import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileReason } from '../../base/errors/index.ts';
import { makeFolderSync, storageFailure, writeFileAtomic } from '../../base/storage/index.ts';
import type { TufStore } from './source.ts';

/**
 * Stores trusted metadata as files of a folder: `root.json`, `timestamp.json`, delegated roles
 * percent-encoded.
 */
export function folderStore(folder: string): TufStore {
  const fileOf = (role: string): string => join(folder, `${encodeURIComponent(role)}.json`);
  return {
    async load(role) {
      try {
        return await readFile(fileOf(role));
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        const file = fileOf(role);
        throw storageFailure(thrown, 'read the trusted metadata', file, fileReason(thrown, file));
      }
    },
    async save(role, bytes) {
      makeFolderSync(folder);
      await writeFileAtomic(fileOf(role), bytes);
    },
  };
}
