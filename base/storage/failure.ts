import { closeSync, openSync } from 'node:fs';
import {
  PortcullisError,
  errnoOf,
  fileReason,
  isPortcullisError,
  meaningOfErrno,
  meansDamagedFileSystem,
} from '../errors/index.ts';
import type { Failure } from '../errors/index.ts';

export type StorageCode =
  | 'STORAGE_BAD_MIGRATIONS'
  | 'STORAGE_BAD_STATEMENT'
  | 'STORAGE_BUSY'
  | 'STORAGE_CLOSED'
  | 'STORAGE_CONFLICT'
  | 'STORAGE_CONSTRAINT'
  | 'STORAGE_DAMAGED'
  | 'STORAGE_DISK_FULL'
  | 'STORAGE_FOREIGN_SCHEMA'
  | 'STORAGE_IN_USE'
  | 'STORAGE_IO'
  | 'STORAGE_NEWER_SCHEMA'
  | 'STORAGE_NO_ACCESS'
  | 'STORAGE_NO_DESCRIPTORS'
  | 'STORAGE_NO_MEMORY'
  | 'STORAGE_READ_ONLY'
  | 'STORAGE_WRITER_LOST';

type Explanation = Pick<Failure<StorageCode>, 'code' | 'kind' | 'fix'>;

const diskFull: Explanation = {
  code: 'STORAGE_DISK_FULL',
  kind: 'exhausted',
  fix: 'free space on that file system and try again; no data was written partially',
};
const readOnly: Explanation = {
  code: 'STORAGE_READ_ONLY',
  kind: 'unavailable',
  fix: 'remount the file system read-write, or choose another folder',
};
const noAccess: Explanation = {
  code: 'STORAGE_NO_ACCESS',
  kind: 'unavailable',
  fix: 'check that the folder exists, is a folder, and may be written by this user',
};
const io: Explanation = {
  code: 'STORAGE_IO',
  kind: 'unavailable',
  fix: 'check the disk and the kernel log, and try again',
};
const damaged: Explanation = {
  code: 'STORAGE_DAMAGED',
  kind: 'data-loss',
  fix: 'check the disk and the kernel log, and start again, because a failing disk looks like damage; if the start reports damage too, move the file (and its -wal and -shm) aside and restore it from a backup, or start without it',
};
const busy: Explanation = {
  code: 'STORAGE_BUSY',
  kind: 'unavailable',
  fix: 'another process holds the write lock: find it with `fuser`, or try again',
};
const constraint: Explanation = {
  code: 'STORAGE_CONSTRAINT',
  kind: 'precondition',
  fix: 'see the reason: the written rows violate the schema',
};
const noMemory: Explanation = {
  code: 'STORAGE_NO_MEMORY',
  kind: 'exhausted',
  fix: 'check whether the machine and the cgroup of the daemon (`MemoryMax`) have memory left, and try again; the call changed nothing',
};
const noDescriptors: Explanation = {
  code: 'STORAGE_NO_DESCRIPTORS',
  kind: 'unavailable',
  fix: 'check the limit of open files (`LimitNOFILE`, `fs.file-max`), and try again; the call changed nothing',
};
const badStatement: Explanation = {
  code: 'STORAGE_BAD_STATEMENT',
  kind: 'internal',
  fix: 'this is a defect of the program: report it with this message',
};

/** SQLite's primary result codes (sqlite.org/rescode.html). */
const byResult: Readonly<Record<number, Explanation>> = {
  3: noAccess, // SQLITE_PERM
  5: busy, // SQLITE_BUSY
  6: busy, // SQLITE_LOCKED
  7: noMemory, // SQLITE_NOMEM
  8: readOnly, // SQLITE_READONLY
  10: io, // SQLITE_IOERR
  11: damaged, // SQLITE_CORRUPT
  13: diskFull, // SQLITE_FULL
  14: noAccess, // SQLITE_CANTOPEN
  19: constraint, // SQLITE_CONSTRAINT
  26: damaged, // SQLITE_NOTADB
};

function byErrno(errno: string): Explanation | undefined {
  if (meansDamagedFileSystem(errno)) return io;
  switch (meaningOfErrno(errno)) {
    case 'disk-full':
      return diskFull;
    case 'read-only':
      return readOnly;
    case 'no-answer':
      return io;
    case 'shortage':
      return errno === 'EMFILE' || errno === 'ENFILE' ? noDescriptors : noMemory;
    case 'gone':
    case 'interrupted':
    case undefined:
      return undefined;
  }
}

/**
 * Returns the kind of an error about a file that a user named and that could not be written: a file system
 * that is full or read-only is a failure of the machine, and everything else is a wrong name.
 */
export function kindOfUnwritten(thrown: unknown): 'exhausted' | 'precondition' | 'invalid' {
  if (!isPortcullisError(thrown)) return 'invalid';
  if (thrown.code === diskFull.code) return 'exhausted';
  return thrown.code === readOnly.code ? 'precondition' : 'invalid';
}

const uniqueViolations = [1555, 2067]; // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE

/**
 * SQLITE_IOERR_SHMSIZE: the file that readers share could not be extended to its length. This is how a full
 * disk shows there.
 */
const shortSharedMemory = 4874;

/** Returns SQLite's extended result code if `thrown` came from node:sqlite. */
export function sqliteResult(thrown: unknown): number | undefined {
  const code = thrown instanceof Error && 'errcode' in thrown ? thrown.errcode : undefined;
  return typeof code === 'number' ? code : undefined;
}

/** SQLITE_IOERR_NOMEM. */
const noMemoryForFile = 3082;

/** Node passes on no errno of SQLite, which reports a file that it cannot open for any reason alike. */
const cannotOpen = 14;

function hasNoDescriptors(): boolean {
  try {
    closeSync(openSync('/dev/null', 'r'));
    return false;
  } catch (thrown) {
    return ['EMFILE', 'ENFILE'].includes((thrown as NodeJS.ErrnoException).code ?? '');
  }
}

function bySqlite(result: number): Explanation {
  if ((result & 0xff) === cannotOpen && hasNoDescriptors()) return noDescriptors;
  if (result === noMemoryForFile) return noMemory;
  return result === shortSharedMemory ? diskFull : (byResult[result & 0xff] ?? badStatement);
}

/** Returns whether one of our calls, or a statement of SQLite, found no space. */
export function isDiskFull(thrown: unknown): boolean {
  if (isPortcullisError(thrown)) return thrown.code === diskFull.code;
  const result = sqliteResult(thrown);
  return result !== undefined && bySqlite(result) === diskFull;
}

/** Returns the error that no space is left for new data, although SQLite would find some. */
export function diskIsFull(attempted: string, path: string): PortcullisError {
  return new PortcullisError({
    ...diskFull,
    attempted,
    on: path,
    why: 'the disk is full: the rest of the file is reserved for removals',
  });
}

/**
 * Converts an error of node:sqlite or node:fs into a coded failure.
 * @param why the reason in words; default: {@link fileReason}
 */
export function storageFailure(
  thrown: unknown,
  attempted: string,
  path: string,
  why = fileReason(thrown, path),
): PortcullisError {
  if (isPortcullisError(thrown)) return thrown;
  const result = sqliteResult(thrown);
  const errno = errnoOf(thrown) ?? '';
  const isFileCall = thrown instanceof Error && 'syscall' in thrown;
  const explanation =
    result !== undefined ? bySqlite(result) : (byErrno(errno) ?? (isFileCall ? noAccess : badStatement));
  const kind =
    result !== undefined && uniqueViolations.includes(result) ? 'already-exists' : explanation.kind;
  return new PortcullisError({
    ...explanation,
    kind,
    attempted,
    on: path,
    why,
    details: result === undefined ? { errno } : { sqlite: result },
    cause: thrown,
  });
}
