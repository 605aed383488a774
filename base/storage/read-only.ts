import { statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { PortcullisError, errnoOf } from '../errors/index.ts';
import { storageFailure } from './failure.ts';
import type { SqlRow, SqlValue } from './types.ts';

/**
 * A database that another process may be writing to. Every call blocks: use it for commands, never for a
 * daemon.
 */
export interface ReadOnlyDatabase extends Disposable {
  /** PRAGMA user_version: how many migrations were applied. */
  readonly version: number;
  /**
   * Yields rows one by one, so that a large table does not have to fit into memory. Throws PortcullisError
   * STORAGE_DAMAGED and others.
   */
  each(sql: string, params?: readonly SqlValue[]): IterableIterator<SqlRow>;
  get(sql: string, params?: readonly SqlValue[]): SqlRow | undefined;
  close(): void;
}

/** Returns facts about a file, or undefined if it does not exist. */
function factsOf(path: string, attempted: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    if (errnoOf(cause) !== 'EACCES') throw storageFailure(cause, attempted, path);
    throw new PortcullisError({
      code: 'STORAGE_NO_ACCESS',
      kind: 'unavailable',
      attempted,
      on: path,
      why: 'this user has no permission',
      fix: 'run the command as root',
      cause,
    });
  }
}

/**
 * Opens an existing file for reading only; nothing is migrated or repaired. All reads until `close` see the
 * same snapshot of the database.
 * @throws PortcullisError STORAGE_NO_ACCESS, STORAGE_DAMAGED, STORAGE_BUSY
 */
export function openReadOnly(path: string): ReadOnlyDatabase {
  const attempted = 'read database';
  const facts = factsOf(path, attempted);
  if (facts?.isFile() !== true) {
    throw new PortcullisError({
      code: 'STORAGE_NO_ACCESS',
      kind: 'not-found',
      attempted,
      on: path,
      why: facts === undefined ? 'there is no such file' : 'it is not a file',
      fix: 'start the daemon once, which creates it, or name state.db in the root folder of a daemon',
    });
  }
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
    db.exec('PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; BEGIN;');
    const version = Number(Object.values(db.prepare('PRAGMA user_version').get() ?? {})[0]);
    // The snapshot of a transaction starts with its first read.
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
    return reader(db, path, version);
  } catch (error) {
    db?.close();
    throw storageFailure(error, attempted, path);
  }
}

function reader(db: DatabaseSync, path: string, version: number): ReadOnlyDatabase {
  const guarded = <T>(body: () => T): T => {
    try {
      return body();
    } catch (error) {
      throw storageFailure(error, 'read from database', path);
    }
  };
  return {
    version,
    get: (sql, params = []) => guarded(() => db.prepare(sql).get(...params) as SqlRow | undefined),
    *each(sql, params = []) {
      const rows = guarded(() => db.prepare(sql).iterate(...params));
      for (let next = guarded(() => rows.next()); next.done !== true; next = guarded(() => rows.next()))
        yield next.value;
    },
    close: () => db.close(),
    [Symbol.dispose]: () => db.close(),
  };
}
