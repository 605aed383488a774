import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { isPortcullisError, PortcullisError } from '../errors/index.ts';
import { diskIsFull, isDiskFull, storageFailure } from './failure.ts';
import type { KeptRoom } from './room.ts';
import type { Outlives, SqlRow, SqlValue, Statement, WriteResult } from './types.ts';

/**
 * The number of prepared statements that are cached; the others are prepared again. The program itself uses
 * far fewer.
 */
const preparedLimit = 500;

export type Outcome = { readonly results: readonly WriteResult[] } | { readonly error: PortcullisError };

/** Runs statements on one connection, with cached prepared statements. */
export interface Connection {
  read(sql: string, params: readonly SqlValue[], first: boolean): SqlRow[];
  /**
   * Runs one transaction for all `calls`; each call succeeds or is rolled back by itself. Returns the answers
   * in order, all durable.
   */
  commitGroup(calls: readonly (readonly Statement[])[], outlives?: Outlives): Outcome[];
}

/**
 * @param spend frees a little disk space for calls that free space themselves; false: there is nothing to
 * free
 * @param room the space reserved by the database itself, which is used first
 */
export function createConnection(
  db: DatabaseSync,
  path: string,
  spend: () => boolean = () => false,
  room?: KeptRoom,
): Connection {
  const prepared = new Map<string, StatementSync>();
  const totalChanges = db.prepare('SELECT total_changes() AS n');
  const lastChanges = db.prepare('SELECT changes() AS n');
  const count = (statement: StatementSync): number => Number(statement.get()?.['n']);

  function prepare(sql: string): StatementSync {
    const known = prepared.get(sql);
    if (known !== undefined) return known;
    const statement = db.prepare(sql);
    statement.setReadBigInts(true);
    if (prepared.size >= preparedLimit) prepared.clear();
    prepared.set(sql, statement);
    return statement;
  }

  function read(sql: string, params: readonly SqlValue[], first: boolean): SqlRow[] {
    try {
      const statement = prepare(sql);
      if (!first) return statement.all(...params).map(plainRow);
      const row = statement.get(...params);
      return row === undefined ? [] : [plainRow(row)];
    } catch (error) {
      throw storageFailure(error, 'read from database', path);
    }
  }

  function execute({ sql, params = [], expectChanges }: Statement): WriteResult {
    const statement = prepare(sql);
    let result: WriteResult;
    if (statement.columns().length === 0) {
      result = { changes: Number(statement.run(...params).changes), rows: [] };
    } else {
      // all() does not report how many rows changed, and changes() keeps the value of an older statement
      // after a SELECT.
      const before = count(totalChanges);
      const rows = statement.all(...params).map(plainRow);
      result = { changes: count(totalChanges) === before ? 0 : count(lastChanges), rows };
    }
    if (expectChanges !== undefined && result.changes !== expectChanges)
      throw conflict(path, expectChanges, result.changes);
    return result;
  }

  // The value that `openFile` has set.
  let waitsForDisk = true;
  /**
   * In WAL mode NORMAL omits the fsync of a commit and nothing else: checkpoints are synced, and the next
   * FULL commit syncs the log with everything before it (sqlite.org/pragma.html#pragma_synchronous).
   */
  function waitForDisk(wanted: boolean): void {
    if (waitsForDisk === wanted) return;
    db.exec(`PRAGMA synchronous = ${wanted ? 'FULL' : 'NORMAL'}`);
    waitsForDisk = wanted;
  }

  /** @param pages that were already freed for these calls */
  function commitGroup(
    calls: readonly (readonly Statement[])[],
    outlives: Outlives = 'power-loss',
    pages = 0,
  ): Outcome[] {
    const outcomes: Outcome[] = [];
    try {
      waitForDisk(outlives === 'power-loss');
      db.exec('BEGIN IMMEDIATE');
      for (const call of calls) {
        db.exec('SAVEPOINT call');
        try {
          if (!addsNothing(call) && room?.allowsMore() === false) throw diskIsFull('write to database', path);
          outcomes.push({ results: call.map(execute) });
        } catch (error) {
          // A full disk or an I/O error ends the whole transaction, or only the statement, such as an INSERT
          // that selects or returns rows (sqlite.org/lang_transaction.html §3). Only a call that is repeated
          // gets more space.
          if (!db.isTransaction || (isDiskFull(error) && !isPortcullisError(error))) throw error;
          db.exec('ROLLBACK TO call');
          outcomes.push({ error: storageFailure(error, 'write to database', path) });
        }
        db.exec('RELEASE call');
      }
      db.exec('COMMIT');
      return outcomes;
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK');
      const failure = storageFailure(error, 'write to database', path);
      // Nothing was kept. One call that is too large for the disk must not make the other calls fail: each
      // gets its own transaction.
      if (calls.length > 1 && failure.code === 'STORAGE_DISK_FULL')
        return calls.flatMap((call) => commitGroup([call], outlives));
      if (failure.code === 'STORAGE_DISK_FULL' && room !== undefined) {
        // The log is at its end, or the file has no free page left. Both can grow if the disk has space.
        if (pages === 0 && room.reuseLog()) return commitGroup(calls, outlives, 1);
        const more = Math.max(firstPages, 2 * pages);
        if (more <= mostPages && room.grow(more)) return commitGroup(calls, outlives, more);
      }
      // The reserved space is only for calls that free space themselves or end something. New data never uses
      // it.
      if (failure.code === 'STORAGE_DISK_FULL' && calls.every(addsNothing) && spend())
        return commitGroup(calls, outlives, mostPages);
      return calls.map(() => ({ error: failure }));
    }
  }

  return { read, commitGroup };
}

/** The free pages that a call gets if it needs more than exist: 32 KiB, doubled up to 256 MiB. */
const firstPages = 8;
const mostPages = 65_536;

/** Returns whether rows are only deleted or updated. */
function addsNothing(call: readonly Statement[]): boolean {
  return call.every(({ sql }) => /^\s*(?:DELETE|UPDATE)\b/i.test(sql));
}

function plainRow(row: Record<string, unknown>): SqlRow {
  const plain: SqlRow = {};
  for (const [name, value] of Object.entries(row)) {
    const unsafe =
      typeof value === 'bigint' &&
      (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER));
    plain[name] = typeof value === 'bigint' && !unsafe ? Number(value) : (value as SqlValue);
  }
  return plain;
}

function conflict(path: string, expected: number, changed: number): PortcullisError {
  return new PortcullisError({
    code: 'STORAGE_CONFLICT',
    kind: 'precondition',
    attempted: 'write to database',
    on: path,
    why: `a statement changed ${changed} rows instead of ${expected}: another writer changed them first`,
    fix: 'read the current state and decide again',
    details: { expected, changed },
  });
}
