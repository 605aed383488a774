export { makingRoom, roomOf, tendBallast, withBallast } from './ballast.ts';
export { adoptLog, closeKeepingLog, keepRoom } from './room.ts';
export type { KeptRoom } from './room.ts';
export type { Ballast, TendedBallast } from './ballast.ts';
export { openDatabase } from './database.ts';
export { foreignSchema, foreignSchemaFix } from './foreign-schema.ts';
export { signatureOfFiles } from './file-signature.ts';
export { makeFolder, makeFolderSync } from './make-folder.ts';
export { lockFolder } from './folder-lock.ts';
export type { FolderLock } from './folder-lock.ts';
export { makeTemporaryFolder, openTemporaryFolder } from './temporary-folder.ts';
export type { TemporaryFolder } from './temporary-folder.ts';
export { openReadOnly } from './read-only.ts';
export type { ReadOnlyDatabase } from './read-only.ts';
export {
  createFileAtomic,
  dropAbandonedWrites,
  dropOldAbandonedWrites,
  giveNewName,
  syncFolder,
  writeFileAtomic,
  writeFilesAtomic,
} from './atomic-file.ts';
export { syncTree } from './sync-tree.ts';
export type {
  Database,
  Migration,
  OpenDatabaseOptions,
  Outlives,
  SqlRow,
  SqlValue,
  Statement,
  WriteResult,
} from './types.ts';
export { diskIsFull, isDiskFull, kindOfUnwritten, sqliteResult, storageFailure } from './failure.ts';
export type { StorageCode } from './failure.ts';
