export { openDatabase } from './database.ts';
export { makeFolder } from './make-folder.ts';
export { lockFolder } from './folder-lock.ts';
export type { FolderLock } from './folder-lock.ts';
export { openReadOnly } from './read-only.ts';
export type { ReadOnlyDatabase } from './read-only.ts';
export { dropAbandonedWrites, writeFileAtomic } from './atomic-file.ts';
export type { Database, Migration, OpenDatabaseOptions, Outlives, SqlRow, SqlValue, Statement, WriteResult } from './types.ts';
export type { StorageCode } from './failure.ts';
