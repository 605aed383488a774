import { chmodSync, closeSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { lockFile, unlockFile } from '../../base/kernel/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import {
  adoptLog,
  closeKeepingLog,
  foreignSchema,
  foreignSchemaFix,
  keepRoom,
  makeFolderSync,
  sqliteResult,
  storageFailure,
} from '../../base/storage/index.ts';
import type { KeptRoom } from '../../base/storage/index.ts';
import { bootOf } from '../namespaces/namespace-id.ts';
import { lowestReader, migrations } from './migrations.ts';

/**
 * The network's own database: attachments, leased addresses, used host ports. Synchronous, for a Worker. The
 * daemon and CNI plugins that run without it write it concurrently. It is the single source of truth: nothing
 * is leased from memory.
 *
 * synchronous=NORMAL: a commit survives the crash of the process, as the kernel's links do. Only the loss of
 * the whole machine can lose a commit, and then all links are lost too.
 */
export interface NetworkDatabase {
  readonly db: DatabaseSync;
  /**
   * Runs `body` in one BEGIN IMMEDIATE. If it throws, nothing is kept.
   * @throws STORAGE_DISK_FULL · STORAGE_BUSY · STORAGE_IO · STORAGE_DAMAGED, and the errors of the body
   */
  transaction<T>(body: () => T): T;
  /**
   * Serializes acts on the kernel over all processes with a lock on a file beside the database. The lock ends
   * with its holder, thread or process. So its holder knows that anything half-created was left by a process
   * that died.
   */
  exclusively<T>(body: () => T): T;
  /**
   * Copies committed data into the main database file, which waits for the disk. SQLite does this within some
   * commit; this call does it while no caller waits.
   */
  checkpoint(): void;
  /** For a daemon: space in the database that deletes and updates need on a full disk. */
  readonly room?: KeptRoom;
  close(): void;
}

/**
 * Opens the database. Creates it (0600 in a 0700 folder), migrates it to this version, and deletes the
 * records of earlier boots.
 * @param roomBytes space that is reserved for removals on a full disk; absent: none
 * @throws NETWORK_NEWER_SCHEMA · NETWORK_FOREIGN_SCHEMA · STORAGE_NO_ACCESS · STORAGE_DISK_FULL ·
 * STORAGE_DAMAGED · STORAGE_IO
 */
export function openNetworkDatabase(path: string, roomBytes?: number): NetworkDatabase {
  makeFolderSync(dirname(path));
  // The file is opened with Node, not with open(2) of `base/kernel`: when a Worker is terminated, Node closes
  // what the Worker opened, which releases the lock.
  const lock = openLock(path);
  let db: DatabaseSync | undefined;
  let depth = 0;
  const exclusively = <T>(body: () => T): T => {
    if (depth === 0) lockFile(lock);
    depth += 1;
    try {
      return body();
    } finally {
      depth -= 1;
      if (depth === 0) unlockFile(lock);
    }
  };
  try {
    // Two processes that create the file at the same time would both find it empty and busy. The lock orders
    // them before SQLite does.
    const opened = orStorageFailure('open the network database', path, () =>
      exclusively(() => openAndMigrate(path, roomBytes !== undefined)),
    );
    db = opened;
    // Acts on the kernel are not repeated. While the disk has room, new records may grow the file beyond the
    // reserved space.
    const room = roomBytes === undefined ? undefined : keepRoom(opened, path, roomBytes, false);
    return {
      db: opened,
      transaction: (body) =>
        orStorageFailure('write the network database', path, () => inTransaction(opened, body)),
      exclusively,
      checkpoint: () => opened.exec('PRAGMA wal_checkpoint(PASSIVE)'),
      ...(room !== undefined && { room }),
      close() {
        if (room === undefined) opened.close();
        else exclusively(() => closeKeepingLog(opened, path));
        closeSync(lock);
      },
    };
  } catch (thrown) {
    db?.close();
    closeSync(lock);
    throw thrown;
  }
}

function openLock(path: string): number {
  try {
    return openSync(`${path}.lock`, 'a', 0o600);
  } catch (thrown) {
    throw storageFailure(thrown, 'open the lock of the network database', `${path}.lock`);
  }
}

function openAndMigrate(path: string, keepsRoom: boolean): DatabaseSync {
  if (keepsRoom) adoptLog(path);
  const db = new DatabaseSync(path, { timeout: 10_000 });
  try {
    chmodSync(path, 0o600);
    // Before the first write: the journal mode is written to the file.
    checkSchema(db, path);
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON');
    migrate(db);
    forgetFormerBoots(db, bootOf());
    return db;
  } catch (thrown) {
    if (keepsRoom) closeKeepingLog(db, path);
    else db.close();
    throw thrown;
  }
}

/** Reports SQLite's errors of disk and file as storage failures, whichever operation caused them. */
function orStorageFailure<T>(attempted: string, path: string, act: () => T): T {
  try {
    return act();
  } catch (thrown) {
    throw sqliteResult(thrown) === undefined ? thrown : storageFailure(thrown, attempted, path);
  }
}

function inTransaction<T>(db: DatabaseSync, body: () => T): T {
  db.exec('BEGIN IMMEDIATE');
  try {
    const result = body();
    db.exec('COMMIT');
    return result;
  } catch (thrown) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw thrown;
  }
}

/** Returns the lowest schema version that a program must support. */
const readerOf = (db: DatabaseSync): number =>
  (db.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;

/**
 * Returns the number of applied steps. Steps that only add are not counted in `user_version`, so that older
 * code can still open the file.
 */
function appliedTo(db: DatabaseSync): number {
  const reader = readerOf(db);
  if (db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'schema_steps'").get() === undefined)
    return reader;
  return Math.max(
    reader,
    (db.prepare('SELECT applied FROM schema_steps').get() as { applied: number }).applied,
  );
}

/** Refuses a file that a release of a later minor version wrote, or no release. */
function checkSchema(db: DatabaseSync, path: string): void {
  const failed = (code: string, why: string, fix: string): PortcullisError =>
    new PortcullisError({
      code,
      kind: 'precondition',
      attempted: 'open the network database',
      on: path,
      why,
      fix,
    });
  const foreign = foreignSchema(db);
  if (foreign !== undefined) throw failed('NETWORK_FOREIGN_SCHEMA', foreign, foreignSchemaFix);
  const reader = readerOf(db);
  if (reader > migrations.length) {
    const why = `it was written by a newer version (schema ${reader}, and this version supports ${migrations.length})`;
    throw failed(
      'NETWORK_NEWER_SCHEMA',
      why,
      'run that version, or see "Return to an older version" in docs/troubleshooting.md',
    );
  }
}

function migrate(db: DatabaseSync): void {
  const isDone = (): boolean => readerOf(db) === lowestReader && appliedTo(db) >= migrations.length;
  if (isDone()) return;
  inTransaction(db, () => {
    const applied = appliedTo(db);
    // A later release of this minor version used the database; its additions stay.
    if (applied > migrations.length) return;
    migrations.slice(applied).forEach((sql) => db.exec(sql));
    db.exec(
      'CREATE TABLE IF NOT EXISTS schema_steps (id INTEGER PRIMARY KEY CHECK (id = 1), applied INTEGER NOT NULL) STRICT',
    );
    db.prepare(
      'INSERT INTO schema_steps (id, applied) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET applied = excluded.applied',
    ).run(migrations.length);
    db.exec(`PRAGMA user_version = ${lowestReader}`);
  });
}

/** A reboot removes every namespace, link and rule, so their addresses and ports are free. */
function forgetFormerBoots(db: DatabaseSync, boot: string): void {
  // Third-party plugins record their resources in their own stores, which survive a reboot, so the engine has
  // to make them release these. The engine treats a row without a host network namespace as its own. A
  // damaged row does not name these plugins.
  const others = "iif(json_valid(spec), json_extract(spec, '$.chains') IS NOT NULL, FALSE)";
  const former = "WHERE realm <> '' AND substr(realm, 1, ?1) <> ?2";
  const boots = [boot.length + 1, `${boot}/`] as const;
  if (db.prepare(`SELECT 1 FROM name ${former} LIMIT 1`).get(...boots) !== undefined)
    db.prepare(`DELETE FROM name ${former}`).run(...boots);
  db.prepare(`DELETE FROM realm ${former}`).run(...boots);
  db.prepare(`DELETE FROM network_service ${former}`).run(...boots);
  if (db.prepare(`SELECT 1 FROM attachment ${former} LIMIT 1`).get(...boots) === undefined) return;
  db.prepare(`UPDATE attachment SET realm = '' ${former} AND ${others}`).run(...boots);
  db.prepare(`DELETE FROM attachment ${former}`).run(...boots);
}
