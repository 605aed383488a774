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
 * Room that belongs to an open database itself, so that deleting and updating rows needs no block of the file system, however full it is. The file
 * holds free pages and never grows but by those; its log keeps its length, and is written again from its beginning.
 */
export interface KeptRoom {
  /** Brings the log into the file, so that the next transaction writes it from its beginning. @returns false when something still needs it */
  reuseLog(): boolean;
  /** Whether rows may be added: a part of the free pages is for updates where the disk has no room for more. */
  allowsMore(): boolean;
  /** Adds free pages, and length of the log, where the disk has ample room. Waits for the disk. @param least pages that must be free afterwards */
  grow(least?: number): boolean;
  /** Whether {@link grow} has something to do. */
  isLow(): boolean;
}

const pageBytes = 4096;
/** The log's header and frames are a little longer than the pages that they hold. */
const frameBytes = pageBytes + 24;
/** What is left free on the disk, in terms of what is taken. */
const ample = 2;
/** A table that is there only while pages are added; one that a killed process left is dropped first. */
const filler = 'portcullis_room';

/**
 * @param path of the database file, whose connection is in WAL mode
 * @param bytes of free pages, and of the log
 * @param isBound whether this connection lets the file grow by {@link KeptRoom.grow} alone: its writes then fail with SQLITE_FULL where they need more
 */
export function keepRoom(db: DatabaseSync, path: string, bytes: number, isBound = true): KeptRoom {
  const wanted = Math.max(2, Math.ceil(bytes / pageBytes));
  const logBytes = Math.max(2, wanted) * frameBytes;
  const numberOf = (pragma: string): number => Number(Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0]);
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
    const result = db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get() as { log: number; checkpointed: number } | undefined;
    return result !== undefined && result.log === result.checkpointed;
  };
  /**
   * As far as half of what is free allows. With the write lock: no frame is written meanwhile. What follows the last valid frame is ignored
   * (sqlite.org/fileformat2.html#walreset).
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
      // Now the pages are blocks of the file. Dropped before, they would never be written.
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
      // Whatever hinders it, what is there is what there was.
      return false;
    }
  };
  let isLong = false;
  bound();
  try {
    // At once: what is free now is soon taken by others. It does not wait for the disk.
    lengthenLog();
  } catch {
    // As far as there is room.
  }
  return {
    reuseLog,
    grow,
    allowsMore: () => freePages() >= wanted / 2 || hasRoomFor(wanted * pageBytes),
    // SQLite never shortens the log of an open database here, so that each write is spared the look.
    isLow: () => freePages() < wanted / 2 || !(isLong ||= logSize(path) >= logBytes),
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
/** For the index of the log (`-shm`, 32 KiB), which each first connection makes anew, and for what others take beside it. */
const indexBytes = 64 * 1024;
const headerBytes = 32;

/**
 * Closes a database so that the blocks of its log stay its own: SQLite removes the log's name with the last connection, and another name of the
 * file keeps it for {@link adoptLog}. Nobody else can take the room in between.
 */
export function closeKeepingLog(db: DatabaseSync, path: string): void {
  addName(`${path}-wal`, reserveOf(path));
  addName(`${path}-shm`, indexReserveOf(path));
  db.close();
}

/** Gives a file a second name. Without the file, or on a file system without links, the next opening takes what is free. */
function addName(from: string, to: string): void {
  rmSync(to, { force: true });
  try {
    linkSync(from, to);
  } catch {
    // As above.
  }
}

/** Whether {@link adoptLog} has something left to give away. */
export function hasKeptLog(path: string): boolean {
  return (statSync(reserveOf(path), { throwIfNoEntry: false })?.size ?? 0) > indexBytes;
}

/**
 * Makes the log that {@link closeKeepingLog} kept the log of the database that is opened next, before it is opened. Its header is wiped first:
 * nothing that it holds is read again. Call it where no other process opens the database at the same moment.
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
        // Others have taken what the index gave away, or there was none.
        else ftruncateSync(fd, Math.max(headerBytes, fstatSync(fd).size - indexBytes));
        // Durable before it has the log's name; a file system with a journal also gives what was cut off away only then.
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      linkSync(reserve, log);
    }
    unlinkSync(reserve);
    rmSync(indexReserveOf(path), { force: true });
  } catch {
    // There is none, or it cannot be used: SQLite makes a log.
  }
}
