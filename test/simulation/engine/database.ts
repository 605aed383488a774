import { hash } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { createConnection } from '../../../base/storage/transaction.ts';
import type { Database, Outlives, SqlRow, Statement } from '../../../base/storage/index.ts';
import { stateMigrations } from '../../../runtime/database/schema.ts';
import { databaseWrite } from './faults.ts';
import type { Incarnation } from './incarnation.ts';
import type { Decisions } from './decisions.ts';

/** Follows the contents of a simulated database. */
export interface DatabaseFollower {
  /**
   * A database without rows: the first one, and one that is filled again with the rows that a loss of power
   * left.
   */
  readonly begins: (db: DatabaseSync) => void;
  /** A transaction was committed. */
  readonly committed: (db: DatabaseSync) => void;
  /** The power was lost, and these are the rows that the database kept. */
  readonly restored: (db: DatabaseSync) => void;
}

/**
 * The daemon's database on the simulated disk: SQLite itself, in memory. It keeps exactly SQLite's promises:
 * a transaction is kept completely or not. A transaction that must survive a loss of power survives it once
 * it is answered, with all transactions before it. Any number of the transactions after it may be lost, the
 * latest first.
 */
export interface StoredDatabase {
  /** Opens the database for one life of the daemon. */
  open(life: Incarnation): Database;
  losePower(decisions: Decisions): void;
  /** Returns rows as a reader of the file sees them. */
  read(sql: string): readonly SqlRow[];
  /** Starts to follow; there is no row yet. */
  follow(follower: DatabaseFollower): void;
  close(): void;
}

interface Committed {
  readonly statements: readonly Statement[];
  readonly outlives: Outlives;
}

function emptyDatabase(): DatabaseSync {
  const db = new DatabaseSync(':memory:');
  // The daemon's own connection has this function too (base/storage/open-file.ts).
  db.function('sha256', { deterministic: true, directOnly: true }, (text) =>
    text === null ? null : hash('sha256', String(text), 'hex'),
  );
  for (const { sql } of stateMigrations) db.exec(sql);
  return db;
}

export function createStoredDatabase(): StoredDatabase {
  let committed: Committed[] = [];
  let follower: DatabaseFollower | undefined;
  let db = emptyDatabase();
  let connection = createConnection(db, 'state.db');
  const commit = (call: Committed): ReturnType<typeof connection.commitGroup>[number] => {
    const [outcome] = connection.commitGroup([call.statements], 'power-loss');
    if (outcome === undefined) throw new Error('unreachable: one call has one outcome');
    if (!('error' in outcome)) committed.push(call);
    return outcome;
  };
  return {
    open: (life) => ({
      all: <Row extends object = SqlRow>(sql: string, params: Statement['params'] = []) =>
        life.act('read', 'read of the database', () => connection.read(sql, params, false) as Row[]),
      get: <Row extends object = SqlRow>(sql: string, params: Statement['params'] = []) =>
        life.act(
          'read',
          'read of the database',
          () => connection.read(sql, params, true)[0] as Row | undefined,
        ),
      write: async (statements, outlives = 'power-loss') => {
        const addsNothing = statements.every(({ sql }) => /^\s*(?:DELETE|UPDATE)\b/i.test(sql));
        const outcome = await life.act(addsNothing ? 'removal' : 'write', databaseWrite, () => {
          const made = commit({ statements, outlives });
          follower?.committed(db);
          return made;
        });
        if ('error' in outcome) throw outcome.error;
        return outcome.results;
      },
      close: () => Promise.resolve(),
    }),
    losePower: (decisions) => {
      const safe = committed.findLastIndex(({ outlives }) => outlives === 'power-loss') + 1;
      const lost = decisions.choose('transactions lost', committed.length - safe + 1);
      if (lost === 0) return;
      const kept = committed.slice(0, committed.length - lost);
      db.close();
      db = emptyDatabase();
      connection = createConnection(db, 'state.db');
      committed = [];
      follower?.begins(db);
      for (const call of kept) commit(call);
      follower?.restored(db);
    },
    read: (sql) => connection.read(sql, [], false),
    follow: (chosen) => {
      follower = chosen;
      follower.begins(db);
    },
    close: () => db.close(),
  };
}
