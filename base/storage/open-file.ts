import { createHash } from 'node:crypto';
import { chmodSync, closeSync, constants, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { PortcullisError, isPortcullisError } from '../errors/index.ts';
import { currentBootId } from '../process/index.ts';
import { spendBallast } from './ballast.ts';
import { sqliteResult, storageFailure } from './failure.ts';
import { foreignSchema, foreignSchemaFix } from './foreign-schema.ts';
import { makeFolderSync } from './make-folder.ts';
import type { WriterData } from './protocol.ts';
import { adoptLog, closeKeepingLog, hasKeptLog } from './room.ts';
import type { Migration } from './types.ts';

/**
 * Opens the file for the writer. On a full disk it uses the space of the last run's log, and the ballast.
 * Blocks: call it in a Worker.
 * @throws PortcullisError see `openDatabase`
 */
export function openFile(data: WriterData): DatabaseSync {
  for (;;)
    try {
      return openOnce(data);
    } catch (error) {
      const isFull = isPortcullisError(error) && error.code === 'STORAGE_DISK_FULL';
      if (!isFull || data.ballast === undefined) throw error;
      // Other processes may have taken the space that the log of the last run released. A log that still has
      // content releases more at the next attempt.
      if (!spendBallast(data.ballast) && !hasKeptLog(data.path)) throw error;
    }
}

/**
 * Opens the file for the writer: folder 0700 (if created), file 0600, WAL, synchronous=FULL (an acknowledged
 * commit survives a power failure: sqlite.org/pragma.html#pragma_synchronous), migrations applied.
 */
function openOnce({ path, migrations, busyTimeoutMs, ballast }: WriterData): DatabaseSync {
  checkMigrations(migrations, path);
  try {
    makeFolderSync(dirname(path));
    // SQLite would create the file with 0644. The -wal and -shm files copy the mode of the main file.
    closeSync(openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600));
    chmodSync(path, 0o600);
    const wasKilled = hasBytes(`${path}-wal`);
    if (ballast !== undefined) adoptLog(path);
    const db = new DatabaseSync(path, { timeout: busyTimeoutMs, enableForeignKeyConstraints: true });
    try {
      // Before the first write: the journal mode is written to the file.
      checkSchema(db, migrations, path);
      db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;');
      addFunctions(db);
      if ((wasKilled && bootMark(db) !== markOfThisBoot()) || bootMark(db) === damagedMark)
        quickCheck(db, path);
      migrate(db, migrations, path);
      markBoot(db);
    } catch (error) {
      if (ballast === undefined) db.close();
      else closeKeepingLog(db, path);
      throw error;
    }
    return db;
  } catch (error) {
    throw storageFailure(error, 'open database', path);
  }
}

/**
 * Adds `sha256(text)`: 64 hex digits of the text's UTF-8 bytes, NULL for NULL. This allows a transaction to
 * compute a chain of hashes inside the transaction that appends to it, whatever else is written at the same
 * moment. Direct only: triggers or views in the file cannot call it.
 */
function addFunctions(db: DatabaseSync): void {
  db.function('sha256', { deterministic: true, directOnly: true }, (value) =>
    value === null ? null : createHash('sha256').update(String(value)).digest('hex'),
  );
}

function hasBytes(path: string): boolean {
  return (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0;
}

/**
 * Returns a mark for the boot in which the file was last opened, in the 31 bits that SQLite keeps for
 * applications. The end of a process loses no data that the kernel already has. The whole file is checked
 * only after another boot, because a power failure may have caused that boot.
 */
function bootMark(db: DatabaseSync): number {
  return numberOf(db, 'application_id');
}

/** Used instead of a boot mark: the file was checked and refused. */
const damagedMark = 1;

function markOfThisBoot(): number {
  return createHash('sha256').update(currentBootId()).digest().readUInt32BE(0) >>> 1;
}

function markBoot(db: DatabaseSync): void {
  if (bootMark(db) !== markOfThisBoot()) setMark(db, markOfThisBoot());
}

function setMark(db: DatabaseSync, mark: number): void {
  try {
    db.exec(`PRAGMA application_id = ${mark}`);
  } catch (error) {
    // Without the mark, the next start after a kill reads the whole file. This is no reason to refuse the
    // current start when the disk is full or another process writes.
    if (!toleratedResults.includes(sqliteResult(error) ?? 0)) throw error;
  }
}

/** SQLITE_BUSY, SQLITE_FULL (sqlite.org/rescode.html). */
const toleratedResults = [5, 13];

function quickCheck(db: DatabaseSync, path: string): void {
  let verdict: unknown;
  try {
    verdict = Object.values(db.prepare('PRAGMA quick_check(1)').get() ?? {})[0];
  } finally {
    // Closing moves the log into the file. Without this mark the next start would see no trace of the kill,
    // and would check nothing.
    if (verdict !== 'ok') setMark(db, damagedMark);
  }
  if (verdict === 'ok') return;
  throw new PortcullisError({
    code: 'STORAGE_DAMAGED',
    kind: 'data-loss',
    attempted: 'open database',
    on: path,
    why: `its consistency check reports: ${String(verdict)}`,
    fix: 'move the file (and its -wal and -shm) aside and restore it from a backup, or start without it',
  });
}

function checkMigrations(migrations: readonly Migration[], path: string): void {
  const wrong = migrations.find((migration, index) => migration.version !== index + 1);
  if (wrong === undefined) return;
  throw new PortcullisError({
    code: 'STORAGE_BAD_MIGRATIONS',
    kind: 'internal',
    attempted: 'open database',
    on: path,
    why: `migration ${wrong.version} is out of place: versions must run from 1 without a gap`,
    fix: 'this is a defect of the program: report it with this message',
  });
}

/**
 * Applies missing migrations, each in its own transaction together with its version, so that a crash leaves a
 * whole number of steps.
 */
function migrate(db: DatabaseSync, migrations: readonly Migration[], path: string): void {
  if (schemaVersion(db) === migrations.length) return;
  for (;;) {
    db.exec('BEGIN IMMEDIATE');
    try {
      // Read this under the lock, because another process may have migrated in the meantime.
      const version = schemaVersion(db);
      if (version > migrations.length) throw newerSchema(path, version, migrations.length);
      const next = migrations[version];
      if (next !== undefined) db.exec(`${next.sql}; PRAGMA user_version = ${next.version};`);
      db.exec('COMMIT');
      if (next === undefined) return;
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK');
      throw error;
    }
  }
}

/** Refuses a file that a newer release wrote, or no release. */
function checkSchema(db: DatabaseSync, migrations: readonly Migration[], path: string): void {
  const foreign = foreignSchema(db);
  if (foreign !== undefined) {
    throw new PortcullisError({
      code: 'STORAGE_FOREIGN_SCHEMA',
      kind: 'precondition',
      attempted: 'open database',
      on: path,
      why: foreign,
      fix: foreignSchemaFix,
    });
  }
  const version = schemaVersion(db);
  if (version > migrations.length) throw newerSchema(path, version, migrations.length);
}

function schemaVersion(db: DatabaseSync): number {
  return numberOf(db, 'user_version');
}

function numberOf(db: DatabaseSync, pragma: 'user_version' | 'application_id'): number {
  return Number(Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0]);
}

function newerSchema(path: string, found: number, known: number): PortcullisError {
  return new PortcullisError({
    code: 'STORAGE_NEWER_SCHEMA',
    kind: 'precondition',
    attempted: 'open database',
    on: path,
    why: `its schema has version ${found}, this program supports ${known}: a newer version has written it`,
    fix: 'run that version, or see "Return to an older version" in docs/troubleshooting.md',
    details: { found, known },
  });
}
