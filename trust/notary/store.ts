import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { openDatabase } from '../../base/storage/index.ts';
import type { Database, SqlRow, Statement } from '../../base/storage/index.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import type { DigestedFile } from './accept.ts';
import type { NewFile } from './accept-input.ts';
import { trustMigrations } from './schema.ts';

/** A file as it is stored and served. */
export interface StoredFile extends NewFile {
  readonly sha256: string;
  /** When it was stored, milliseconds since 1970. */
  readonly at: number;
}

/** A file in the store whose content was not read yet. */
export interface FoundFile {
  readonly size: number;
  /** Returns undefined when the file was removed in the meantime. */
  read(): Promise<StoredFile | undefined>;
}

/** A change of a collection. Changes are ordered (Notary's changefeed). */
export interface Change {
  readonly id: number;
  readonly at: number;
  readonly gun: string;
  /** Version of the timestamp. */
  readonly version: number;
  readonly sha256: string;
  readonly category: 'update' | 'deletion';
}

export interface SealedKey {
  readonly role: string;
  readonly sealed: Buffer;
}

/** The durable state of the service: one SQLite database. A write is acknowledged when it is on disk. */
export interface TrustStore {
  currentFiles(gun: string, dialect: Dialect): Promise<StoredFile[]>;
  fileByHash(gun: string, dialect: Dialect, role: string, hash: string): Promise<FoundFile | undefined>;
  fileByVersion(gun: string, dialect: Dialect, role: string, version: number): Promise<FoundFile | undefined>;
  isWithheld(gun: string): Promise<boolean>;
  /**
   * Stores files of either dialect in one transaction, and records the change.
   * @returns false when a version already exists: another publisher was faster
   */
  keep(
    gun: string,
    updates: readonly DialectFiles[],
    options: { readonly at: number; readonly withholdTuf: boolean },
  ): Promise<boolean>;
  /** Removes the files and keys of a collection in both dialects. */
  remove(gun: string, at: number): Promise<void>;
  keys(gun: string): Promise<SealedKey[]>;
  /**
   * Adds a sealed key.
   * @param instead sealed keys of the same collection that are removed in the same transaction
   */
  addKey(gun: string, role: string, sealed: Buffer, at: number, instead: readonly Buffer[]): Promise<void>;
  /**
   * Returns changes.
   * @param after returns changes with higher ids, oldest first; or `before`: those with lower ids, the newest
   * of them
   */
  changes(input: {
    readonly gun?: string;
    readonly after?: number;
    readonly before?: number;
    readonly most: number;
  }): Promise<Change[]>;
  /**
   * Returns why the store accepts no updates now, or undefined when it does. The result is valid for one
   * second.
   */
  flaw(): Promise<string | undefined>;
  close(): Promise<void>;
}

export interface DialectFiles {
  readonly dialect: Dialect;
  readonly files: readonly FileToKeep[];
}

/** A file to be stored. */
export interface FileToKeep extends StoredFile {
  readonly sha512: string;
}

export function fileToKeep(file: DigestedFile, at: number): FileToKeep {
  const { bytes } = file;
  if (bytes.buffer.byteLength === bytes.length) return { ...file, at };
  // Not from the buffer pool: the whole pool would be kept and copied to the writer with a small buffer.
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return { ...file, bytes: own, at };
}

/**
 * Opens the store.
 * @param onLost called once when the store can no longer be used
 * @throws STORAGE_…
 */
export async function openTrustStore(
  folder: string,
  onLost?: (error: PortcullisError) => void,
): Promise<TrustStore> {
  const path = join(folder, 'trust.db');
  return trustStore(
    await openDatabase({ path, migrations: trustMigrations, ...(onLost !== undefined && { onLost }) }),
  );
}

/** The size of a usual update: a disk without room for it is full for publishers. */
const probeBytes = 64 * 1024;

/**
 * Shares one call among all callers within a second: constant calls make the disk write only once a second.
 */
function forOneSecond<T>(ask: () => Promise<T>): () => Promise<T> {
  let last: { readonly at: number; readonly answer: Promise<T> } | undefined;
  return () => {
    const now = performance.now();
    if (last === undefined || now - last.at > 1000) last = { at: now, answer: ask() };
    return last.answer;
  };
}

const columns = 'files.role, files.version, sha256, at, data';

/**
 * Number of updates that go to the disk one by one, before the other updates of their turn share a commit.
 */
const mostAhead = 4;

function trustStore(db: Database): TrustStore {
  let writing = 0;
  const one = async (where: string, params: readonly (string | number)[]): Promise<FoundFile | undefined> => {
    const found = await db.get(
      `SELECT rowid, length(data) AS size FROM files WHERE ${where} ORDER BY version DESC LIMIT 1`,
      params,
    );
    if (found === undefined) return undefined;
    return {
      size: Number(found['size']),
      async read() {
        const row = await db.get(`SELECT ${columns} FROM files WHERE rowid = ?`, [Number(found['rowid'])]);
        return row === undefined ? undefined : fileOf(row);
      },
    };
  };
  return {
    currentFiles: async (gun, dialect) =>
      (
        await db.all(
          `SELECT ${columns} FROM standing JOIN files USING (gun, dialect, role, version) WHERE standing.gun = ? AND standing.dialect = ?`,
          [gun, dialect],
        )
      ).map(fileOf),
    fileByHash: (gun, dialect, role, hash) =>
      one(`gun = ? AND ${hash.length === 64 ? 'sha256' : 'sha512'} = ? AND dialect = ? AND role = ?`, [
        gun,
        hash,
        dialect,
        role,
      ]),
    fileByVersion: (gun, dialect, role, version) =>
      one('gun = ? AND dialect = ? AND role = ? AND version = ?', [gun, dialect, role, version]),
    isWithheld: async (gun) => (await db.get('SELECT 1 FROM withheld WHERE gun = ?', [gun])) !== undefined,
    async keep(gun, updates, { at, withholdTuf }) {
      const tuf = updates.some(({ dialect }) => dialect === 'tuf');
      const statements: Statement[] = updates.flatMap(({ dialect, files }) => keepFiles(gun, dialect, files));
      if (withholdTuf)
        statements.push({ sql: 'INSERT OR IGNORE INTO withheld (gun) VALUES (?)', params: [gun] });
      else if (tuf) statements.push({ sql: 'DELETE FROM withheld WHERE gun = ?', params: [gun] });
      append(statements, noteUpdate(gun, updates, at));
      try {
        // The first updates of a turn of the event loop go to the disk while the others are judged, and the
        // others share the next commit. If only one went first, the disk would wait for the judging of all
        // others, and they would wait for the disk.
        if (writing >= mostAhead) await setImmediate();
        writing += 1;
        await db.write(statements).finally(() => (writing -= 1));
        return true;
      } catch (thrown) {
        if (isConstraint(thrown)) return false;
        throw thrown;
      }
    },
    async remove(gun, at) {
      await db.write([
        {
          sql: `INSERT INTO changes (at, gun, version, sha256, category)
                SELECT ?, ?, 0, '', 'deletion' WHERE EXISTS (SELECT 1 FROM files WHERE gun = ?)`,
          params: [at, gun, gun],
        },
        { sql: 'DELETE FROM files WHERE gun = ?', params: [gun] },
        { sql: 'DELETE FROM standing WHERE gun = ?', params: [gun] },
        { sql: 'DELETE FROM withheld WHERE gun = ?', params: [gun] },
        { sql: 'DELETE FROM keys WHERE gun = ?', params: [gun] },
      ]);
    },
    keys: async (gun) =>
      (await db.all('SELECT role, sealed FROM keys WHERE gun = ? ORDER BY rowid', [gun])).map(
        ({ role, sealed }) => ({
          role: String(role),
          sealed: Buffer.from(sealed as Uint8Array),
        }),
      ),
    async addKey(gun, role, sealed, at, instead) {
      await db.write([
        ...instead.map((old) => ({
          sql: 'DELETE FROM keys WHERE gun = ? AND sealed = ?',
          params: [gun, old],
        })),
        {
          sql: 'INSERT INTO keys (gun, role, at, sealed) VALUES (?, ?, ?, ?)',
          params: [gun, role, at, sealed],
        },
      ]);
    },
    async changes({ gun, after, before, most }) {
      const conditions = [
        ...(gun === undefined ? [] : ['gun = ?']),
        ...(after === undefined ? [] : ['id > ?']),
        ...(before === undefined ? [] : ['id < ?']),
      ];
      const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
      const rows = await db.all(
        `SELECT id, at, gun, version, sha256, category FROM changes ${where} ORDER BY id ${after === undefined ? 'DESC' : 'ASC'} LIMIT ?`,
        [...[gun, after, before].filter((value) => value !== undefined), most],
      );
      const found = rows as unknown as Change[];
      return after === undefined ? found.reverse() : found;
    },
    flaw: forOneSecond(async () => {
      try {
        await db.write([
          { sql: 'INSERT OR REPLACE INTO probe (id, data) VALUES (1, zeroblob(?))', params: [probeBytes] },
        ]);
        return undefined;
      } catch (thrown) {
        return reasonOf(thrown);
      }
    }),
    close: () => db.close(),
  };
}

function fileOf(row: SqlRow): StoredFile {
  const { data } = row;
  const bytes = data as Uint8Array;
  return {
    role: String(row['role']),
    version: Number(row['version']),
    sha256: String(row['sha256']),
    at: Number(row['at']),
    bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
  };
}

/**
 * Stores all files of an update with two statements, because each further statement would be sent to the
 * writer and run separately.
 */
function keepFiles(gun: string, dialect: Dialect, files: readonly FileToKeep[]): Statement[] {
  const statements: Statement[] = [];
  for (let from = 0; from < files.length; from += mostRows) {
    const some = files.slice(from, from + mostRows);
    statements.push(
      {
        // TUF recovers from a fast-forward by new keys, and then uses lower version numbers again than those
        // it dropped.
        sql: `INSERT ${dialect === 'tuf' ? 'OR REPLACE ' : ''}INTO files (gun, dialect, role, version, sha256, sha512, at, data)
              VALUES ${rows(some.length, '(?, ?, ?, ?, ?, ?, ?, ?)')}`,
        params: some.flatMap(({ role, version, sha256, sha512, at, bytes }) => [
          gun,
          dialect,
          role,
          version,
          sha256,
          sha512,
          at,
          bytes,
        ]),
      },
      {
        sql: `INSERT OR REPLACE INTO standing (gun, dialect, role, version) VALUES ${rows(some.length, '(?, ?, ?, ?)')}`,
        params: some.flatMap(({ role, version }) => [gun, dialect, role, version]),
      },
    );
  }
  return statements;
}

/**
 * A usual update has three or four files. Many files are stored by several statements with the same text,
 * which is prepared once.
 */
const mostRows = 16;

const rows = (count: number, one: string): string => Array.from({ length: count }, () => one).join(', ');

/** Records one change for each update, by its timestamp: that of the Notary dialect if it has one. */
function noteUpdate(gun: string, updates: readonly DialectFiles[], at: number): Statement[] {
  const of = (dialect: Dialect): StoredFile | undefined =>
    updates.find((one) => one.dialect === dialect)?.files.find(({ role }) => role === 'timestamp');
  const timestamp = of('notary') ?? of('tuf');
  if (timestamp === undefined) return [];
  return [
    {
      sql: `INSERT INTO changes (at, gun, version, sha256, category) VALUES (?, ?, ?, ?, 'update')`,
      params: [at, gun, timestamp.version, timestamp.sha256],
    },
  ];
}

function isConstraint(thrown: unknown): boolean {
  return isPortcullisError(thrown) && thrown.code === 'STORAGE_CONSTRAINT';
}
