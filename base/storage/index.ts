export { openDatabase } from './database.ts';
export { openReadOnly } from './read-only.ts';
export type { ReadOnlyDatabase } from './read-only.ts';
export { dropAbandonedWrites, writeFileAtomic } from './atomic-file.ts';
export type { Database, Migration, OpenDatabaseOptions, Outlives, SqlRow, SqlValue, Statement, WriteResult } from './types.ts';
export type { StorageCode } from './failure.ts';
