import { hash } from 'node:crypto';
import { lstatSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { attempt, reasonOf } from '../../base/errors/index.ts';
import { dropAbandonedWrites, makeFolderSync, writeFileAtomic } from '../../base/storage/index.ts';

/**
 * Stores the files that were last in force on disk, so that a folder that disappears or is emptied by mistake
 * removes nothing, even after a restart.
 */

export interface StoredSet<Reading> {
  /** Path of the folder that was read. */
  readonly folder: string;
  /** Device and inode of that folder. Empty: the folder never existed. */
  readonly identity: string;
  readonly files: readonly StoredFile<Reading>[];
}

export interface StoredFile<Reading> {
  readonly name: string;
  /** The stamp of the file when it was read (stamps.ts). */
  readonly stamp: string;
  readonly reading: Reading;
}

export interface SetStore<Reading> {
  /**
   * Returns the stored set.
   * @returns undefined if there is none; `damaged` if it was modified or cannot be read
   */
  last(): StoredSet<Reading> | 'damaged' | undefined;
  /**
   * Stores the set if it differs from the last one. The write is atomic. A failure is logged, and the write
   * is tried again at the next call.
   */
  keep(set: StoredSet<Reading>): void;
  /** Returns whether the last set that was given is on disk. */
  isKept(): boolean;
}

export interface SetStoreOptions {
  readonly path: string;
  /** Changes with the meaning of a reading. A set of another format counts as damaged. */
  readonly format: string;
  /** The name of the stored content, for the log. */
  readonly what: string;
  readonly log: { error(fields: object, message: string): void };
}

export function openSetStore<Reading>({ path, format, what, log }: SetStoreOptions): SetStore<Reading> {
  let [written, wanted, reported] = ['', '', ''];
  let isWriting = false;

  const write = async (set: StoredSet<Reading>, key: string): Promise<void> => {
    isWriting = true;
    try {
      makeFolderSync(dirname(path));
      await dropAbandonedWrites(path);
      await writeFileAtomic(path, textOf(set, format));
      [written, reported] = [key, ''];
    } catch (thrown) {
      const why = reasonOf(thrown);
      if (why !== reported)
        log.error({ path, why }, `the ${what} in force could not be saved on disk; it is tried again`);
      reported = why;
    } finally {
      isWriting = false;
    }
  };

  return {
    last() {
      const found = read<Reading>(path, format);
      if (found !== undefined && found !== 'damaged') written = wanted = keyOf(found);
      return found;
    },
    keep(set) {
      // Most nodes have no such files and nothing to store.
      if (written === '' && set.files.length === 0 && isMissing(path)) return;
      wanted = keyOf(set);
      if (wanted !== written && !isWriting) void write(set, wanted);
    },
    isKept: () => wanted === written,
  };
}

/** Needs no descriptor: a lack of them is not a stored set. */
function isMissing(path: string): boolean {
  return attempt(() => lstatSync(path, { throwIfNoEntry: false }) === undefined) ?? false;
}

const keyOf = ({ folder, identity, files }: StoredSet<unknown>): string =>
  JSON.stringify([folder, identity, files.map(({ name, stamp }) => [name, stamp])]);

function read<Reading>(path: string, format: string): StoredSet<Reading> | 'damaged' | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : 'damaged';
  }
  const end = text.indexOf('\n');
  const body = text.slice(end + 1);
  if (end === -1 || text.slice(0, end) !== headOf(body, format)) return 'damaged';
  try {
    return parseJson(body) as StoredSet<Reading>;
  } catch {
    return 'damaged';
  }
}

function textOf(set: StoredSet<unknown>, format: string): string {
  const body = JSON.stringify(set);
  return `${headOf(body, format)}\n${body}`;
}

const headOf = (body: string, format: string): string => `${format} sha256:${hash('sha256', body)}`;
