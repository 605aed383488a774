import { DatabaseSync } from 'node:sqlite';
import type { SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite';
import { lowestReader, migrations } from '../../../cni-plugins/database/migrations.ts';

/**
 * The rows of the network's database, on the simulated disk: SQLite itself, in memory. A writer is killed
 * before a commit, or after it.
 */
export interface StoredRows {
  readonly db: DatabaseSync;
  /** Prepares a statement once for all lives of the daemon. */
  prepare(sql: string): StatementSync;
  read(sql: string, ...values: SQLInputValue[]): readonly Record<string, SQLOutputValue>[];
  close(): void;
}

let empty: Uint8Array | undefined;

/** Returns the bytes of a newly created database. */
function emptyFile(): Uint8Array {
  if (empty !== undefined) return empty;
  const db = new DatabaseSync(':memory:');
  for (const sql of migrations) db.exec(sql);
  db.exec(
    'CREATE TABLE schema_steps (id INTEGER PRIMARY KEY CHECK (id = 1), applied INTEGER NOT NULL) STRICT',
  );
  db.prepare('INSERT INTO schema_steps (id, applied) VALUES (1, ?)').run(migrations.length);
  db.exec(`PRAGMA user_version = ${lowestReader}`);
  empty = db.serialize();
  db.close();
  return empty;
}

export function createStoredRows(): StoredRows {
  const db = new DatabaseSync(':memory:');
  db.deserialize(emptyFile());
  const statements = new Map<string, StatementSync>();
  const prepare = (sql: string): StatementSync => {
    const found = statements.get(sql) ?? db.prepare(sql);
    statements.set(sql, found);
    return found;
  };
  return { db, prepare, read: (sql, ...values) => prepare(sql).all(...values), close: () => db.close() };
}
