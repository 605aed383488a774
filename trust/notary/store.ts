import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { openDatabase } from '../../base/storage/index.ts';
import type { Database, SqlRow, Statement } from '../../base/storage/index.ts';
import type { Dialect } from '../tuf/metadata/model.ts';
import type { DigestedFile } from './accept.ts';
import type { NewFile } from './accept-input.ts';
import { trustMigrations } from './schema.ts';

/** A file as it is kept and served. */
export interface StoredFile extends NewFile {
  readonly sha256: string;
  /** When it was kept, milliseconds since 1970. */
  readonly at: number;
}

/** What has happened to collections, in order (Notary's changefeed). */
export interface Change {
  readonly id: number;
  readonly at: number;
  readonly gun: string;
  /** Of the timestamp. */
  readonly version: number;
  readonly sha256: string;
  readonly category: 'update' | 'deletion';
}

export interface SealedKey {
  readonly role: string;
  readonly sealed: Buffer;
}

/** The service's durable state: one SQLite database, whose writes are answered when they are on disk. */
export interface TrustStore {
  currentFiles(gun: string, dialect: Dialect): Promise<StoredFile[]>;
  fileByHash(gun: string, dialect: Dialect, role: string, hash: string): Promise<StoredFile | undefined>;
  fileByVersion(gun: string, dialect: Dialect, role: string, version: number): Promise<StoredFile | undefined>;
  isWithheld(gun: string): Promise<boolean>;
  /**
   * Keeps files of either dialect in one transaction, and notes the change.
   * @returns false when a version is there already: another publisher came first
   */
  keep(gun: string, updates: readonly DialectFiles[], options: { readonly at: number; readonly withholdTuf: boolean }): Promise<boolean>;
  /** Files and keys, of both dialects. */
  remove(gun: string, at: number): Promise<void>;
  keys(gun: string): Promise<SealedKey[]>;
  /** @param instead sealed keys of the same collection that go at the same moment */
  addKey(gun: string, role: string, sealed: Buffer, at: number, instead: readonly Buffer[]): Promise<void>;
  /** @param after changes of higher ids, oldest first; or `before`: those of lower ids, the newest of them */
  changes(input: { readonly gun?: string; readonly after?: number; readonly before?: number; readonly most: number }): Promise<Change[]>;
  /** Why it takes no updates now; undefined: it does. What was found holds for a second. */
  flaw(): Promise<string | undefined>;
  close(): Promise<void>;
}

export interface DialectFiles {
  readonly dialect: Dialect;
  readonly files: readonly FileToKeep[];
}

/** A file that is to be kept. */
export interface FileToKeep extends StoredFile {
  readonly sha512: string;
}

export function fileToKeep(file: DigestedFile, at: number): FileToKeep {
  const { bytes } = file;
  if (bytes.buffer.byteLength === bytes.length) return { ...file, at };
  // In memory of its own: a small buffer is a part of a pool, which would be kept, and copied to the writer, whole.
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return { ...file, bytes: own, at };
}

/** @throws STORAGE_… */
export async function openTrustStore(folder: string): Promise<TrustStore> {
  return trustStore(await openDatabase({ path: join(folder, 'trust.db'), migrations: trustMigrations }));
}

/** What an update of usual size takes: a disk that has no room for it is full for publishers. */
const probeBytes = 64 * 1024;

/** Asks once for all who want to know within a second: whoever asks without end makes the disk write once a second. */
function forOneSecond<T>(ask: () => Promise<T>): () => Promise<T> {
  let last: { readonly at: number; readonly answer: Promise<T> } | undefined;
  return () => {
    const now = performance.now();
    if (last === undefined || now - last.at > 1000) last = { at: now, answer: ask() };
    return last.answer;
  };
}

const columns = 'files.role, files.version, sha256, at, data';

/** Updates that go to the disk one by one, before the others of their turn share a commit. */
const mostAhead = 4;

function trustStore(db: Database): TrustStore {
  let writing = 0;
  const one = async (where: string, params: readonly (string | number)[]): Promise<StoredFile | undefined> => {
    const row = await db.get(`SELECT ${columns} FROM files WHERE ${where} ORDER BY version DESC LIMIT 1`, params);
    return row === undefined ? undefined : fileOf(row);
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
      one(`gun = ? AND ${hash.length === 64 ? 'sha256' : 'sha512'} = ? AND dialect = ? AND role = ?`, [gun, hash, dialect, role]),
    fileByVersion: (gun, dialect, role, version) =>
      one('gun = ? AND dialect = ? AND role = ? AND version = ?', [gun, dialect, role, version]),
    isWithheld: async (gun) => (await db.get('SELECT 1 FROM withheld WHERE gun = ?', [gun])) !== undefined,
    async keep(gun, updates, { at, withholdTuf }) {
      const tuf = updates.some(({ dialect }) => dialect === 'tuf');
      const statements: Statement[] = updates.flatMap(({ dialect, files }) => keepFiles(gun, dialect, files));
      if (withholdTuf) statements.push({ sql: 'INSERT OR IGNORE INTO withheld (gun) VALUES (?)', params: [gun] });
      else if (tuf) statements.push({ sql: 'DELETE FROM withheld WHERE gun = ?', params: [gun] });
      append(statements, noteUpdate(gun, updates, at));
      try {
        // The first of a turn of the loop go to the disk while the others are judged; those share the next commit. Were it only one, the disk
        // would wait for all the others to be judged, and they for the disk.
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
      (await db.all('SELECT role, sealed FROM keys WHERE gun = ? ORDER BY rowid', [gun])).map(({ role, sealed }) => ({
        role: String(role),
        sealed: Buffer.from(sealed as Uint8Array),
      })),
    async addKey(gun, role, sealed, at, instead) {
      await db.write([
        ...instead.map((old) => ({ sql: 'DELETE FROM keys WHERE gun = ? AND sealed = ?', params: [gun, old] })),
        { sql: 'INSERT INTO keys (gun, role, at, sealed) VALUES (?, ?, ?, ?)', params: [gun, role, at, sealed] },
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
        await db.write([{ sql: 'INSERT OR REPLACE INTO probe (id, data) VALUES (1, zeroblob(?))', params: [probeBytes] }]);
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

/** All files of an update by two statements: each one more would cross to the writer, and be run, by itself. */
function keepFiles(gun: string, dialect: Dialect, files: readonly FileToKeep[]): Statement[] {
  const statements: Statement[] = [];
  for (let from = 0; from < files.length; from += mostRows) {
    const some = files.slice(from, from + mostRows);
    statements.push(
      {
        // TUF recovers from a fast-forward by new keys, and then counts again below what it threw away.
        sql: `INSERT ${dialect === 'tuf' ? 'OR REPLACE ' : ''}INTO files (gun, dialect, role, version, sha256, sha512, at, data)
              VALUES ${rows(some.length, '(?, ?, ?, ?, ?, ?, ?, ?)')}`,
        params: some.flatMap(({ role, version, sha256, sha512, at, bytes }) => [gun, dialect, role, version, sha256, sha512, at, bytes]),
      },
      {
        sql: `INSERT OR REPLACE INTO standing (gun, dialect, role, version) VALUES ${rows(some.length, '(?, ?, ?, ?)')}`,
        params: some.flatMap(({ role, version }) => [gun, dialect, role, version]),
      },
    );
  }
  return statements;
}

/** The usual updates have three or four files; many go by several statements of one text, which is prepared once. */
const mostRows = 16;

const rows = (count: number, one: string): string => Array.from({ length: count }, () => one).join(', ');

/** One change an update, by its timestamp; Notary's where it has one. */
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
