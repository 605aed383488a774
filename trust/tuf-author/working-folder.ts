import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { fileReason, folderReason, meansNoSuchPath } from '../../base/errors/index.ts';
import { dropOldAbandonedWrites, makeFolderSync, writeFileAtomic } from '../../base/storage/index.ts';
import type { Dialect, TopRole } from '../tuf-metadata/model.ts';
import type { Standing } from './collection.ts';
import type { OnlineRole } from './destination.ts';
import { authorFailure } from './failure.ts';
import type { StagedChange, StagedKeys } from './staged.ts';

/** An owner's settings for a collection, stored beside its metadata. They contain no secret. */
export interface Settings {
  readonly version: 1;
  /** The name of the collection; Notary calls it GUN. */
  readonly name: string;
  readonly dialects: readonly Dialect[];
  /** Where it is published: `https://…`, `oci://…`, or a folder. */
  readonly destinations: readonly string[];
  /** Seconds by role. */
  readonly expiry: Readonly<Record<Dialect, Readonly<Record<string, number>>>>;
  /** Roles that the service signs. */
  readonly serverManaged: Readonly<Record<Dialect, readonly OnlineRole[]>>;
  /** The first keys, by dialect, until the first publish. */
  readonly begin: Readonly<Partial<Record<Dialect, Readonly<Partial<Record<TopRole, StagedKeys>>>>>>;
  /** Versions of Notary's roles at our last publish: other clients may publish there too. */
  readonly notaryVersions?: Readonly<Record<string, number>>;
}

/**
 * A collection at its owner: settings, the files last published, staged changes, and drafts that wait for
 * signatures.
 */
export interface WorkingFolder {
  readonly path: string;
  settings(): Promise<Settings>;
  saveSettings(settings: Settings): Promise<void>;
  standing(dialect: Dialect): Promise<Standing>;
  saveStanding(dialect: Dialect, existing: Standing): Promise<void>;
  /** Returns every root by its version, first to last. */
  roots(dialect: Dialect): Promise<ReadonlyMap<number, Buffer>>;
  saveRoot(dialect: Dialect, version: number, bytes: Buffer): Promise<void>;
  staged(): Promise<readonly StagedChange[]>;
  saveStaged(changes: readonly StagedChange[]): Promise<void>;
  pending(dialect: Dialect): Promise<Standing>;
  savePending(dialect: Dialect, pending: Standing): Promise<void>;
  /** Returns the new files of a publish that has begun to send them; empty once it is complete. */
  sending(dialect: Dialect): Promise<Standing>;
  saveSending(dialect: Dialect, files: Standing): Promise<void>;
  /** Returns the staged changes that these files contain. */
  sendingStaged(): Promise<readonly StagedChange[]>;
  saveSendingStaged(changes: readonly StagedChange[]): Promise<void>;
}

const shared = { mode: 0o644 } as const;

/**
 * Refuses a name that cannot be a folder, a path at a service, and a line of a key file. notary-server
 * accepts 255 characters.
 */
function refuseName(name: string): void {
  const odd = /[\p{C}\p{Z}*]/u.test(name) || !name.isWellFormed();
  if (odd)
    throw authorFailure(
      'TRUST_AUTHOR_NAME',
      JSON.stringify(name),
      'it contains a blank, a control character or an asterisk',
    );
  if (name.split('/').some((part) => part === '' || part === '.' || part === '..'))
    throw authorFailure(
      'TRUST_AUTHOR_NAME',
      JSON.stringify(name),
      'a part between slashes is empty, "." or ".."',
    );
  if (encodeURIComponent(name).length > 255)
    throw authorFailure('TRUST_AUTHOR_NAME', JSON.stringify(name), 'it is too long for a folder');
}

/**
 * Opens the working folder of a collection.
 * @param folder holds all collections and keys; each collection has a subfolder of its own
 * @throws TRUST_AUTHOR_NAME for an invalid name
 */
export function openWorkingFolder(folder: string, name: string): WorkingFolder {
  refuseName(name);
  const path = join(folder, 'collections', encodeURIComponent(name));
  const at = (...parts: readonly string[]): string => join(path, ...parts);
  const readJson = async (file: string): Promise<unknown> => {
    try {
      return parseJson(await readFile(file, 'utf8'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw authorFailure('TRUST_AUTHOR_WORKING_FOLDER', file, fileReason(error, file), error);
    }
  };
  const writeJson = async (file: string, value: unknown): Promise<void> => {
    makeFolderSync(path, 0o755);
    await dropOldAbandonedWrites(path);
    await writeFileAtomic(file, `${JSON.stringify(value, null, 2)}\n`, shared);
  };
  const readFiles = async (sub: string): Promise<Map<string, Buffer>> => {
    const listed = await readdir(at(sub)).catch((error: unknown) => {
      // A folder that cannot be listed must not be begun again.
      if (meansNoSuchPath(error)) return [];
      throw authorFailure('TRUST_AUTHOR_WORKING_FOLDER', at(sub), folderReason(error, at(sub)), error);
    });
    const names = listed.filter((file) => file.endsWith('.json')).sort();
    const roles = names.map((file) => decodeURIComponent(file.slice(0, -'.json'.length)));
    return new Map(
      await Promise.all(
        roles.map(async (role, index) => [role, await readFile(at(sub, names[index] ?? ''))] as const),
      ),
    );
  };
  const writeFiles = async (sub: string, files: Standing): Promise<void> => {
    makeFolderSync(at(sub), 0o755);
    await dropOldAbandonedWrites(at(sub));
    for (const [role, bytes] of files)
      await writeFileAtomic(at(sub, `${encodeURIComponent(role)}.json`), bytes, shared);
    const wanted = new Set([...files.keys()].map((role) => `${encodeURIComponent(role)}.json`));
    for (const file of await readdir(at(sub)))
      if (file.endsWith('.json') && !wanted.has(file)) await rm(at(sub, file));
  };

  return {
    path,
    async settings() {
      const value = await readJson(at('collection.json'));
      if (value === undefined)
        throw authorFailure(
          'TRUST_AUTHOR_WORKING_FOLDER',
          name,
          `${folder} contains no such collection, and only portcullis trust init creates one`,
        );
      return value as Settings;
    },
    saveSettings: (settings) => writeJson(at('collection.json'), settings),
    standing: readFiles,
    saveStanding: writeFiles,
    async roots(dialect) {
      const files = await readFiles(join(dialect, 'roots'));
      return new Map(
        [...files]
          .map(([version, bytes]): [number, Buffer] => [Number(version), bytes])
          .sort(([a], [b]) => a - b),
      );
    },
    async saveRoot(dialect, version, bytes) {
      makeFolderSync(at(dialect, 'roots'), 0o755);
      await writeFileAtomic(at(dialect, 'roots', `${version}.json`), bytes, shared);
    },
    staged: async () => ((await readJson(at('staged.json'))) ?? []) as readonly StagedChange[],
    saveStaged: (changes) => writeJson(at('staged.json'), changes),
    pending: (dialect) => readFiles(join('pending', dialect)),
    savePending: (dialect, pending) => writeFiles(join('pending', dialect), pending),
    sending: (dialect) => readFiles(join('sending', dialect)),
    saveSending: (dialect, files) => writeFiles(join('sending', dialect), files),
    sendingStaged: async () =>
      ((await readJson(at('sending', 'staged.json'))) ?? []) as readonly StagedChange[],
    async saveSendingStaged(changes) {
      makeFolderSync(at('sending'), 0o755);
      await writeJson(at('sending', 'staged.json'), changes);
    },
  };
}
