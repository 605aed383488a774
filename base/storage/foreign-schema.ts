import type { DatabaseSync } from 'node:sqlite';

/** The advice about a file that another program wrote. */
export const foreignSchemaFix =
  'nothing was changed: move the file (and its -wal and -shm) aside, and restore it from a backup, or start without it';

/**
 * Returns why no release can have written this file, or undefined: its PRAGMA user_version is negative, or it
 * has tables but no version. Each migration is applied together with its version, so a file of ours that has
 * no version is empty. Reads only: call it before anything is written, and outside of a transaction.
 */
export function foreignSchema(db: DatabaseSync): string | undefined {
  // One snapshot: another process may apply the first migration between the two reads.
  db.exec('BEGIN');
  try {
    const version = Number(Object.values(db.prepare('PRAGMA user_version').get() ?? {})[0]);
    if (version < 0) return `its schema is version ${version}, which no release writes`;
    if (version > 0 || db.prepare('SELECT name FROM sqlite_schema LIMIT 1').get() === undefined)
      return undefined;
    return 'it has tables, but no schema version: another program wrote it';
  } finally {
    // A read that fails, as the first one does on a full disk, may have ended the transaction.
    if (db.isTransaction) db.exec('COMMIT');
  }
}
