import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import { PortcullisError } from '../errors/index.ts';
import { storageFailure } from './failure.ts';
import type { StorageCode } from './failure.ts';
import { makeFolderSync } from './make-folder.ts';

/** A folder that only this process uses, until it releases the lock or dies in any way. */
export interface FolderLock {
  release(): void;
}

/** The file in a locked folder. */
export const lockFile = 'lock';

/** SQLITE_BUSY (sqlite.org/rescode.html). */
const busyCode = 5;
const askEveryMs = 50;

/**
 * Locks a folder for this process alone. The kernel releases the lock with the process, so no stale lock can
 * exist. It is SQLite's RESERVED lock of the file `lock` in the folder (sqlite.org/lockingv3.html), which
 * lets other processes read the holder's pid. On a full disk the lock is taken without the pid.
 * @param folder created (0700) if absent
 * @param waitMs how long to wait for the current holder, in milliseconds. Default: not at all
 * @throws STORAGE_IN_USE naming the process that holds it · STORAGE_NO_ACCESS, STORAGE_READ_ONLY,
 * STORAGE_DISK_FULL
 */
export async function lockFolder(folder: string, waitMs = 0): Promise<FolderLock> {
  const path = join(folder, lockFile);
  const end = performance.now() + waitMs;
  let db: DatabaseSync | undefined;
  try {
    makeFolderSync(folder);
    db = new DatabaseSync(path, { timeout: 0 });
    for (;;) {
      if (took(db)) return holding(db);
      if (performance.now() >= end) break;
      await pause(askEveryMs);
    }
    throw inUse(folder, holderOf(db));
  } catch (error) {
    db?.close();
    throw storageFailure(error, 'lock folder', folder);
  }
}

function took(db: DatabaseSync): boolean {
  try {
    return begins(db, `BEGIN IMMEDIATE; PRAGMA user_version = ${process.pid}; COMMIT; BEGIN IMMEDIATE`);
  } catch {
    // A full disk has no space for the pid. With a journal in memory, nothing is written before a commit. The
    // change fails if the file cannot be written: BEGIN IMMEDIATE locks such a file only for reading.
    return begins(db, `PRAGMA journal_mode = MEMORY; BEGIN IMMEDIATE; PRAGMA user_version = ${process.pid}`);
  }
}

/** Returns whether the statements took the lock. It is still free if they failed. */
function begins(db: DatabaseSync, statements: string): boolean {
  try {
    db.exec(statements);
    return true;
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    if ((error as { errcode?: number }).errcode === busyCode) return false;
    throw error;
  }
}

function holding(db: DatabaseSync): FolderLock {
  let held = true;
  return {
    release() {
      if (held) db.close();
      held = false;
    },
  };
}

/** Returns undefined if the recorded process has ended: on a full disk, the pid is of an earlier holder. */
function holderOf(db: DatabaseSync): number | undefined {
  try {
    const pid = Number(Object.values(db.prepare('PRAGMA user_version').get() ?? {})[0]);
    return pid > 0 && exists(pid) ? pid : undefined;
  } catch {
    return undefined;
  }
}

function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // EPERM: it is the process of another user.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

function inUse(folder: string, pid: number | undefined): PortcullisError<StorageCode> {
  return new PortcullisError({
    code: 'STORAGE_IN_USE',
    kind: 'unavailable',
    attempted: 'lock folder',
    on: folder,
    why: pid === undefined ? 'another process uses it' : `process ${pid} uses it`,
    fix: 'stop that process, wait until it is done, or use another folder',
    ...(pid === undefined ? {} : { details: { pid } }),
  });
}
