import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { tryPlainFile } from '../../base/files/index.ts';
import { parseJson } from '../../base/json/index.ts';
import {
  dropAbandonedWrites,
  makeFolderSync,
  syncFolder,
  writeFileAtomic,
} from '../../base/storage/index.ts';
import type { PolicySource } from '../policy/policy-watch.ts';
import { differenceOf, unpackFiles } from '../policy/unpacked-files.ts';
import type { NamedFiles } from '../policy/unpacked-files.ts';

/** An object that is part of the policy in force. */
export interface ObjectInForce {
  readonly kind: string;
  readonly name: string;
  readonly generation: number;
}

/** Objects that were valid together, with every file that they name. */
export interface ObjectSet {
  /** ISO 8601: when they took effect. */
  readonly since: string;
  readonly revision: string;
  readonly objects: readonly ObjectInForce[];
  /** Names of the files that are documents. */
  readonly documents: readonly string[];
  readonly files: NamedFiles;
}

/** The set that was in force last; or why there is none, once the cluster has said so. */
export type Remembered = ObjectSet | { readonly since: string; readonly lacking: string };

export interface ObjectFolder {
  /** Undefined: nothing was remembered. @throws PortcullisError `POLICY_OBJECTS_STATE` */
  load(): Promise<Remembered | undefined>;
  /** Durable when the promise resolves. @throws the errors of base/storage */
  save(remembered: Remembered): Promise<void>;
  /** Forgets what was remembered. Needs no space on the disk. Durable when the promise resolves. */
  remove(): Promise<void>;
  /** Makes the folder of files for the loader, and returns the source of its policy. */
  unpack(set: Pick<ObjectSet, 'documents' | 'files'>): Promise<PolicySource & { readonly folder: string }>;
  /** Returns a text in which documents are named without the folder of their set. */
  shorten(text: string): string;
  /** Removes the folders of all other sets. Ignores what cannot be removed. */
  forget(kept: Pick<ObjectSet, 'files'> | undefined): Promise<void>;
}

/** Digits of a digest in the name of the folder of a set. */
const digits = 16;
/** A file of a set, by its path below the folder of all sets. */
const isInSet = new RegExp(`^[0-9a-f]{${digits}}/`, 'u');
/** More than the longest set needs in base64. */
const mostRecordBytes = 32 * 1024 * 1024;

/** @throws the errors of base/storage */
export async function openObjectFolder(folder: string): Promise<ObjectFolder> {
  const sets = join(folder, 'sets');
  for (const one of [folder, sets]) makeFolderSync(one);
  const record = join(folder, 'objects.json');
  await dropAbandonedWrites(record);
  const folderOf = (files: NamedFiles): string => join(sets, digestOf(files).slice(0, digits));
  return {
    async load() {
      try {
        const read = await tryPlainFile(record, mostRecordBytes);
        if (!('bytes' in read)) throw new Error(`it is ${read.refused}`);
        return remembered(parseJson(read.bytes.toString()));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw unreadable(record, error);
      }
    },
    save: (set) => writeFileAtomic(record, JSON.stringify(written(set))),
    async remove() {
      await rm(record, { force: true });
      await syncFolder(folder);
    },
    async unpack({ documents, files }) {
      const path = folderOf(files);
      await unpackFiles(path, files);
      return {
        folder: path,
        paths: [...documents].sort().map((name) => join(path, name)),
        intact: () => refuseAltered(path, files),
      };
    },
    shorten(text) {
      const [head = '', ...rest] = text.split(`${sets}/`);
      return (
        head + rest.map((part) => (isInSet.test(part) ? part.slice(digits + 1) : `${sets}/${part}`)).join('')
      );
    },
    async forget(kept) {
      const name = kept === undefined ? undefined : folderOf(kept.files);
      for (const one of await readdir(sets).catch(() => [] as string[]))
        if (join(sets, one) !== name)
          await rm(join(sets, one), { recursive: true, force: true }).catch(() => undefined);
    },
  };
}

/** Returns the sha256 of the names and bytes, in hexadecimal. */
export function digestOf(files: NamedFiles): string {
  const hash = createHash('sha256');
  for (const [name, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1)))
    hash.update(`${JSON.stringify(name)} ${bytes.length}\n`).update(bytes);
  return hash.digest('hex');
}

function written(set: Remembered): object {
  if ('lacking' in set) return { version: 1, ...set };
  const files = Object.fromEntries([...set.files].map(([name, bytes]) => [name, bytes.toString('base64')]));
  return { version: 1, ...set, files };
}

/** @throws when it does not have the form of version 1 */
function remembered(read: unknown): Remembered {
  const { version, since, lacking, revision, objects, documents, files } = read as Record<string, unknown>;
  if (version !== 1 || typeof since !== 'string') throw new Error('it does not have the form of version 1');
  if (typeof lacking === 'string') return { since, lacking };
  const isSet =
    typeof revision === 'string' && Array.isArray(objects) && Array.isArray(documents) && isTexts(files);
  if (!isSet) throw new Error('it does not have the form of version 1');
  return {
    ...{ since, revision, objects: objects as ObjectInForce[], documents: documents as string[] },
    files: new Map(Object.entries(files).map(([name, text]) => [name, Buffer.from(text, 'base64')])),
  };
}

/** Whether these are texts by names that lead to no other folder. */
function isTexts(value: unknown): value is Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).every(
    ([name, text]) => typeof text === 'string' && /^[^/.][^/]*(?:\/[^/.][^/]*)?$/u.test(name),
  );
}

async function refuseAltered(path: string, files: NamedFiles): Promise<void> {
  const found = await differenceOf(path, files);
  if (found === undefined) return;
  throw new PortcullisError({
    code: 'POLICY_OBJECTS_ALTERED',
    kind: 'data-loss',
    attempted: 'load the policies of the cluster',
    on: path,
    why: `${found} differs from the objects of the cluster`,
    fix: 'change the objects and not these files; a restart of portcullisd restores the files',
  });
}

function unreadable(file: string, error: unknown): PortcullisError {
  return new PortcullisError({
    code: 'POLICY_OBJECTS_STATE',
    kind: 'data-loss',
    attempted: 'read the policies of the cluster that were in force',
    on: file,
    why: reasonOf(error),
    fix: 'wait until the node has read the objects again from the API server; until then it denies everything new',
    cause: error,
  });
}
