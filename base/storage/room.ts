import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  openSync,
  rmSync,
  statSync,
  statfsSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';

/**
 * Space that an open database reserves for itself, so that deleting and updating rows needs no block of the
 * file system, even if it is full. The file contains free pages and grows only by adding them. Its log keeps
 * its length, and is rewritten from its beginning.
 */
export interface KeptRoom {
  /**
   * Moves the log into the file, so that the next transaction writes the log from its beginning. @returns
   * false when something still needs it, or the disk refuses it. Never throws
   */
  reuseLog(): boolean;
  /**
   * Returns whether rows may be added. Part of the free pages is reserved for updates when the disk has no
   * more space.
   */
  allowsMore(): boolean;
  /**
   * Adds free pages, and length of the log, if the disk has ample space. Waits for the disk. @param least the
   * number of pages that must be free afterwards
   */
  grow(least?: number): boolean;
  /**
   * Returns whether {@link grow} has something to do. Never throws: if the file cannot be read, there may be
   * something to do.
   */
  isLow(): boolean;
}

const pageBytes = 4096;
/** The log's header and frames are slightly longer than the pages that they contain. */
const frameBytes = pageBytes + 24;
/** The factor of free disk space that must remain, relative to the space taken. */
const ample = 2;
/** A table that exists only while pages are added. One that a killed process left is dropped first. */
const filler = 'portcullis_room';

/**
 * Keeps room in a database for removals: free pages, and a log that keeps its length (decision 0078).
 * @param path of the database file, whose connection is in WAL mode
 * @param bytes of free pages, and of the log
 * @param isBound whether this connection lets the file grow only by {@link KeptRoom.grow}: its writes then
 * fail with SQLITE_FULL when they need more
 */
export function keepRoom(db: DatabaseSync, path: string, bytes: number, isBound = true): KeptRoom {
  const wanted = Math.max(2, Math.ceil(bytes / pageBytes));
  const logBytes = Math.max(2, wanted) * frameBytes;
  const numberOf = (pragma: string): number =>
    Number(Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0]);
  const freeList = db.prepare('PRAGMA freelist_count');
  const freePages = (): number => Number(Object.values(freeList.get() ?? {})[0]);
  const bound = (more = 0): void => {
    if (isBound) numberOf(`max_page_count = ${numberOf('page_count') + more}`);
  };
  const hasRoomFor = (needed: number): boolean => {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize >= ample * needed;
  };
  const reuseLog = (): boolean => {
    try {
      const result = db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get() as
        | { log: number; checkpointed: number }
        | undefined;
      return result !== undefined && result.log === result.checkpointed;
    } catch {
      // The caller is the thread of the database, which an exception would end. The log is as it was.
      return false;
    }
  };
  /**
   * Extends the log by at most half of the free space. Runs with the write lock, so that no frame is written
   * during it. SQLite ignores bytes after the last valid frame (sqlite.org/fileformat2.html#walreset).
   */
  const lengthenLog = (): void => {
    if (logSize(path) >= logBytes) return;
    const { bavail, bsize } = statfsSync(path);
    const fd = openSync(`${path}-wal`, constants.O_WRONLY | constants.O_NOFOLLOW);
    try {
      db.exec('BEGIN IMMEDIATE');
      const { size } = fstatSync(fd);
      const more = Math.min(logBytes - size, Math.floor((bavail * bsize) / 2));
      if (more > 0) writeAll(fd, Buffer.alloc(more), size);
    } finally {
      if (db.isTransaction) db.exec('ROLLBACK');
      closeSync(fd);
    }
  };
  const addPages = (count: number): void => {
    bound(count + 16);
    try {
      db.exec(`DROP TABLE IF EXISTS ${filler}; BEGIN IMMEDIATE; CREATE TABLE ${filler} (bytes BLOB)`);
      db.prepare(`INSERT INTO ${filler} VALUES (zeroblob(?))`).run((count - 1) * (pageBytes - 4));
      db.exec('COMMIT');
      // Now the pages are blocks of the file. If they were dropped before this, they would never be written.
      reuseLog();
      db.exec(`DROP TABLE ${filler}`);
    } finally {
      if (db.isTransaction) db.exec('ROLLBACK');
      bound();
    }
  };
  const grow = (least = wanted): boolean => {
    const missing = Math.max(0, least - freePages());
    try {
      lengthenLog();
      if (missing === 0) return true;
      if (!hasRoomFor(2 * missing * pageBytes)) return false;
      addPages(Math.max(2, missing));
      return true;
    } catch {
      // In any failure, the space that existed before is unchanged.
      return false;
    }
  };
  let isLong = false;
  bound();
  try {
    // Extend the log at once, because other processes soon take free space. This does not wait for the disk.
    lengthenLog();
  } catch {
    // The log was extended as far as there was space.
  }
  return {
    reuseLog,
    grow,
    allowsMore: () => freePages() >= wanted / 2 || hasRoomFor(wanted * pageBytes),
    // SQLite never shortens the log of an open database here, so the size is not checked at each write.
    isLow: () => {
      try {
        return freePages() < wanted / 2 || !(isLong ||= logSize(path) >= logBytes);
      } catch {
        // The caller is the thread of the database, which an exception would end.
        return true;
      }
    },
  };
}

function logSize(path: string): number {
  return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}

const reserveOf = (path: string): string => `${path}-reserve`;
const indexReserveOf = (path: string): string => `${path}-reserve-index`;
/**
 * Space for the index of the log (`-shm`, 32 KiB), which each first connection recreates, and for space that
 * other processes take in addition.
 */
const indexBytes = 64 * 1024;
const headerBytes = 32;

/**
 * Closes a database and keeps the blocks of its log: SQLite removes the log's name with the last connection,
 * and a second name of the file keeps it for {@link adoptLog}. No other process can take the space in
 * between.
 */
export function closeKeepingLog(db: DatabaseSync, path: string): void {
  addName(`${path}-wal`, reserveOf(path));
  addName(`${path}-shm`, indexReserveOf(path));
  db.close();
}

/**
 * Gives a file a second name. If the file does not exist, or the file system has no hard links, the next
 * opening uses free space.
 */
function addName(from: string, to: string): void {
  rmSync(to, { force: true });
  try {
    linkSync(from, to);
  } catch {
    // No second name: the next opening uses free space.
  }
}

/** Returns whether {@link adoptLog} still has space to release. */
export function hasKeptLog(path: string): boolean {
  return (statSync(reserveOf(path), { throwIfNoEntry: false })?.size ?? 0) > indexBytes;
}

/**
 * Makes the log that {@link closeKeepingLog} kept the log of the database that is opened next. Call it before
 * the opening, when no other process opens the database. The log's header is erased first, so that none of
 * its content is read again.
 */
export function adoptLog(path: string): void {
  const [reserve, log] = [reserveOf(path), `${path}-wal`];
  try {
    if (statSync(log, { throwIfNoEntry: false }) === undefined) {
      const fd = openSync(reserve, constants.O_RDWR | constants.O_NOFOLLOW);
      try {
        writeAll(fd, Buffer.alloc(headerBytes), 0);
        const index = indexReserveOf(path);
        if (statSync(index, { throwIfNoEntry: false }) !== undefined) unlinkSync(index);
        // Other processes have taken the space that the index released, or there was none.
        else ftruncateSync(fd, Math.max(headerBytes, fstatSync(fd).size - indexBytes));
        // The file must be durable before it gets the log's name. A file system with a journal also releases
        // truncated blocks only then.
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      linkSync(reserve, log);
    }
    unlinkSync(reserve);
    rmSync(indexReserveOf(path), { force: true });
  } catch {
    // The log does not exist or cannot be used: SQLite creates one.
  }
}
