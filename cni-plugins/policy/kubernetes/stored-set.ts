import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseJson } from '../../../base/json/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';
import { dropAbandonedWrites, makeFolderSync, writeFileAtomic } from '../../../base/storage/index.ts';
import type { FileReading } from './join.ts';

/** The policies that were last in force, kept on disk: a folder that is gone or emptied by mistake opens no pod, after a restart neither. */

export interface StoredSet {
  /** The folder that it was read from, by its path. */
  readonly folder: string;
  /** Device and inode of that folder; empty: it was never there. */
  readonly identity: string;
  readonly files: readonly StoredFile[];
}

export interface StoredFile {
  readonly name: string;
  /** As the file was when it was read (stamps.ts). */
  readonly stamp: string;
  readonly reading: FileReading;
}

/** Changes with the meaning of {@link FileReading}: a set of another version says nothing. */
const format = 'portcullis-network-policies 1';

export interface SetStore {
  /** @returns undefined: there is none; `damaged`: it is not as it was written, or cannot be read */
  last(): StoredSet | 'damaged' | undefined;
  /** Writes it, when it is another than the last one: whole or not at all. What fails is logged, and tried again at the next call. */
  keep(set: StoredSet): void;
  /** Whether the last set that was given is on disk. */
  isKept(): boolean;
}

export function openSetStore(path: string, log: { error(fields: object, message: string): void }): SetStore {
  let [written, wanted, told] = ['', '', ''];
  let isWriting = false;

  const write = async (set: StoredSet, key: string): Promise<void> => {
    isWriting = true;
    try {
      makeFolderSync(dirname(path));
      await dropAbandonedWrites(path);
      await writeFileAtomic(path, textOf(set));
      [written, told] = [key, ''];
    } catch (thrown) {
      const why = reasonOf(thrown);
      if (why !== told) log.error({ path, why }, 'the NetworkPolicies in force could not be kept on disk; it is tried again');
      told = why;
    } finally {
      isWriting = false;
    }
  };

  return {
    last() {
      const found = read(path);
      if (found !== undefined && found !== 'damaged') written = wanted = keyOf(found);
      return found;
    },
    keep(set) {
      // Most nodes have no policies, and nothing to keep.
      if (written === '' && set.files.length === 0 && read(path) === undefined) return;
      wanted = keyOf(set);
      if (wanted !== written && !isWriting) void write(set, wanted);
    },
    isKept: () => wanted === written,
  };
}

const keyOf = ({ folder, identity, files }: StoredSet): string =>
  JSON.stringify([folder, identity, files.map(({ name, stamp }) => [name, stamp])]);

function read(path: string): StoredSet | 'damaged' | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : 'damaged';
  }
  const end = text.indexOf('\n');
  const body = text.slice(end + 1);
  if (end === -1 || text.slice(0, end) !== headOf(body)) return 'damaged';
  try {
    return parseJson(body) as StoredSet;
  } catch {
    return 'damaged';
  }
}

function textOf(set: StoredSet): string {
  const body = JSON.stringify(set);
  return `${headOf(body)}\n${body}`;
}

const headOf = (body: string): string => `${format} sha256:${hash('sha256', body)}`;
