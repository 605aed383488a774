import { chmodSync, closeSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { lockFile, unlockFile } from '../../base/kernel/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { adoptLog, closeKeepingLog, keepRoom, makeFolderSync, sqliteResult, storageFailure } from '../../base/storage/index.ts';
import type { KeptRoom } from '../../base/storage/index.ts';
import { bootOf } from './realm.ts';
import { lowestReader, migrations } from './migrations.ts';

/**
 * The network's own database: attachments, leased addresses, taken host ports. Synchronous, for a Worker. The daemon and CNI
 * plugins that run without it write it side by side; it is the only authority, nothing is leased from memory.
 *
 * synchronous=NORMAL: a commit survives the death of the process, which is what the kernel's links survive too. Only the
 * loss of the whole machine can lose a commit, and it takes every link with it.
 */
export interface NetworkDatabase {
  readonly db: DatabaseSync;
  /** One BEGIN IMMEDIATE. @throws STORAGE_DISK_FULL · STORAGE_BUSY · STORAGE_IO · STORAGE_DAMAGED, and what the body throws; nothing of it is kept then */
  transaction<T>(body: () => T): T;
  /**
   * One act on the kernel at a time over all processes: a lock on a file beside the database. It ends with its holder, thread or process,
   * so whoever holds it knows that what is half made was left by the dead.
   */
  exclusively<T>(body: () => T): T;
  /** Brings what was written into the database's own file, which waits for the disk. SQLite does so by itself inside some commit; here while nobody waits. */
  checkpoint(): void;
  /** Of a daemon: what deleting and updating need on a full disk is kept in the database itself. */
  readonly room?: KeptRoom;
  close(): void;
}

/**
 * Opens it, makes it (0600 in a 0700 folder), brings it to this version, and forgets what stood before the last boot.
 * @param roomBytes what is kept for removals on a full disk; absent: nothing
 * @throws NETWORK_NEWER_SCHEMA · STORAGE_NO_ACCESS · STORAGE_DISK_FULL · STORAGE_DAMAGED · STORAGE_IO
 */
export function openNetworkDatabase(path: string, roomBytes?: number): NetworkDatabase {
  makeFolderSync(dirname(path));
  // By Node, not by open(2) of `base/kernel`: Node closes what a Worker opened when the Worker is ended, wherever it is, and the lock goes with it.
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
    // Two processes that make the file at once would both find it empty and busy: the lock orders them before SQLite does.
    const opened = orStorageFailure('open the network database', path, () =>
      exclusively(() => openAndMigrate(path, roomBytes !== undefined)),
    );
    db = opened;
    // Acts on the kernel are not repeated: where the disk has room, what is new may let the file grow beyond what is kept.
    const room = roomBytes === undefined ? undefined : keepRoom(opened, path, roomBytes, false);
    return {
      db: opened,
      transaction: (body) => orStorageFailure('write the network database', path, () => inTransaction(opened, body)),
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
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON');
    migrate(db, path);
    forgetFormerBoots(db, bootOf());
    return db;
  } catch (thrown) {
    if (keepsRoom) closeKeepingLog(db, path);
    else db.close();
    throw thrown;
  }
}

/** What SQLite says of the disk or of the file is told as that, whoever asked. */
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

/** The version that a program must know at least. */
const readerOf = (db: DatabaseSync): number => (db.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;

/** Steps that were applied: those that only add are not counted in `user_version`, so that the code before them still opens the file. */
function appliedTo(db: DatabaseSync): number {
  const reader = readerOf(db);
  if (db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'schema_steps'").get() === undefined) return reader;
  return Math.max(reader, (db.prepare('SELECT applied FROM schema_steps').get() as { applied: number }).applied);
}

function migrate(db: DatabaseSync, path: string): void {
  const isDone = (): boolean => readerOf(db) === lowestReader && appliedTo(db) >= migrations.length;
  if (isDone()) return;
  inTransaction(db, () => {
    const reader = readerOf(db);
    if (reader > migrations.length) {
      throw new PortcullisError({
        code: 'NETWORK_NEWER_SCHEMA',
        kind: 'precondition',
        attempted: 'open the network database',
        on: path,
        why: `it was written by a newer version (schema ${reader}, known is ${migrations.length})`,
        fix: 'run the version that wrote it, or a newer one',
      });
    }
    const applied = appliedTo(db);
    // A later release of this minor version was here: what it added stays.
    if (applied > migrations.length) return;
    migrations.slice(applied).forEach((sql) => db.exec(sql));
    db.exec('CREATE TABLE IF NOT EXISTS schema_steps (id INTEGER PRIMARY KEY CHECK (id = 1), applied INTEGER NOT NULL) STRICT');
    db.prepare('INSERT INTO schema_steps (id, applied) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET applied = excluded.applied').run(
      migrations.length,
    );
    db.exec(`PRAGMA user_version = ${lowestReader}`);
  });
}

/** A reboot takes every namespace, link and rule with it: their addresses and ports are free. */
function forgetFormerBoots(db: DatabaseSync, boot: string): void {
  // What plugins of others hold is in their own stores, which a reboot leaves: the engine has them let go. It takes a row without a realm for its own.
  const others = "json_extract(spec, '$.chains') IS NOT NULL";
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
