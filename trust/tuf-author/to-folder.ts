import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileReason, isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import {
  dropOldAbandonedWrites,
  makeFolderSync,
  writeFileAtomic,
  writeFilesAtomic,
} from '../../base/storage/index.ts';
import { tufFailure } from '../tuf/failure.ts';
import { authorFailure } from './failure.ts';
import { consistentName } from './destination.ts';
import type { Destination, PublishedFile } from './destination.ts';

/**
 * Publishes to a plain folder that any web server may serve: `1.root.json`, `timestamp.json`,
 * `5.snapshot.json`, `3.targets.json`. A role with `/` in its name is stored in subfolders: clients request
 * `%2F`, and servers decode it. Reading and publishing throw TRUST_AUTHOR_DESTINATION when the folder cannot
 * be used, and STORAGE_DISK_FULL or STORAGE_READ_ONLY.
 */
export function folderDestination(folder: string): Destination {
  /**
   * Delegating roles choose role names. No name may lead out of the folder, or to the file of another role.
   */
  const fileOf = (name: string): string => {
    if (!/(?:^|\/)\.{0,2}(?:\/|$)|\0/u.test(name)) return join(folder, name);
    throw tufFailure('TRUST_TUF_MALFORMED', name, 'a role of this name has no file in a folder');
  };
  return {
    address: folder,
    dialects: ['tuf'],
    source: () => ({
      async fetch(name, mostBytes) {
        const file = fileOf(decodeURIComponent(name));
        try {
          if ((await stat(file)).size > mostBytes)
            throw tufFailure('TRUST_TUF_TOO_LARGE', file, `it is larger than ${mostBytes} bytes`);
          return await readFile(file);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
          throw isPortcullisError(error) ? error : unusable(file, error);
        }
      },
    }),
    async publish(publications) {
      const files = publications
        .flatMap(({ lacking }) => lacking.map((file) => ({ ...file, path: fileOf(consistentName(file)) })))
        .sort((a, b) => turnOf(a) - turnOf(b));
      for (const used of new Set(files.map(({ path }) => dirname(path)))) await dropOldAbandonedWrites(used);
      const write = async (path: string, task: () => Promise<void>): Promise<void> => {
        try {
          makeFolderSync(dirname(path), 0o755);
          await task();
        } catch (error) {
          throw unusable(isPortcullisError(error) ? error.failure.on : path, error);
        }
      };
      for (const file of files.filter((one) => turnOf(one) === 0))
        await write(file.path, () => writeFileAtomic(file.path, file.bytes, { mode: 0o644 }));
      const last = files.filter((one) => turnOf(one) > 0);
      const [first] = last;
      if (first !== undefined) await write(first.path, () => writeFilesAtomic(last, { mode: 0o644 }));
    },
    close: () => Promise.resolve(),
  };
}

/**
 * Roots come late, and the timestamp last: until then readers see the previous files. A new root may name
 * other keys, so that no reader accepts the previous timestamp after it. Therefore roots and the timestamp
 * are all written before the first of them gets its name.
 */
const turnOf = ({ role }: PublishedFile): number => (role === 'timestamp' ? 2 : role === 'root' ? 1 : 0);

/** With another place, a disk that is full or read-only stays so: it is a failure, and not wrong use. */
const failures: readonly string[] = ['STORAGE_DISK_FULL', 'STORAGE_READ_ONLY'];

const unusable = (path: string, error: unknown): PortcullisError =>
  isPortcullisError(error) && failures.includes(error.code)
    ? error
    : authorFailure('TRUST_AUTHOR_DESTINATION', path, fileReason(error, path), error);
