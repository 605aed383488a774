import type { Migration } from '../../base/storage/index.ts';

/** The schema of trust.db. Append only: a released step never changes and never moves. */
export const trustMigrations: readonly Migration[] = [
  {
    version: 1,
    sql: `
      CREATE TABLE files (
        gun TEXT NOT NULL, dialect TEXT NOT NULL, role TEXT NOT NULL, version INTEGER NOT NULL,
        sha256 TEXT NOT NULL, sha512 TEXT NOT NULL, at INTEGER NOT NULL, current INTEGER NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (gun, dialect, role, version)
      ) STRICT;
      CREATE INDEX files_current ON files (gun, dialect) WHERE current = 1;
      CREATE INDEX files_sha256 ON files (gun, sha256);
      CREATE INDEX files_sha512 ON files (gun, sha512);
      CREATE TABLE withheld (gun TEXT PRIMARY KEY) STRICT;
      CREATE TABLE keys (gun TEXT NOT NULL, role TEXT NOT NULL, at INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
      CREATE INDEX keys_gun ON keys (gun);
      CREATE TABLE changes (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, gun TEXT NOT NULL,
        version INTEGER NOT NULL, sha256 TEXT NOT NULL, category TEXT NOT NULL
      ) STRICT;
      CREATE INDEX changes_gun ON changes (gun, id);`,
  },
  {
    // The current version is a row of its own: storing it in the row of the file rewrote all bytes of the
    // file.
    version: 2,
    sql: `
      CREATE TABLE standing (
        gun TEXT NOT NULL, dialect TEXT NOT NULL, role TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (gun, dialect, role)
      ) WITHOUT ROWID, STRICT;
      INSERT INTO standing (gun, dialect, role, version) SELECT gun, dialect, role, version FROM files WHERE current = 1;
      DROP INDEX files_current;
      DROP INDEX files_sha512;
      ALTER TABLE files DROP COLUMN current;`,
  },
  {
    // A row that is written to test whether the disk accepts updates.
    version: 3,
    sql: 'CREATE TABLE probe (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT',
  },
];
