import type { SQLInputValue, StatementResultingChanges, StatementSync } from 'node:sqlite';
import { attachmentsMachine, effect } from '../machine.ts';

/**
 * Replaces `node:sqlite` for `database/database.ts`: the rows on the simulated disk. A statement that writes
 * outside a transaction may fail, and so may the end of a transaction: within a transaction, nothing is on
 * the disk before its end.
 */

const errcodes: Readonly<Record<string, number>> = { ENOSPC: 13, EMFILE: 14, ENOMEM: 14 };
const failure = (errno: string): Error =>
  Object.assign(new Error(`simulated: ${errno}`), {
    errcode: errcodes[errno] ?? 10,
    code: 'ERR_SQLITE_ERROR',
  });
const write = <T>(name: string, body: () => T): T => effect('write', name, failure, body);

/** The part of a statement that the network's stores use. */
type Statement = Pick<StatementSync, 'all' | 'get' | 'iterate' | 'run'>;

export class DatabaseSync {
  readonly #rows = attachmentsMachine().rows;

  constructor(_path: string, _options?: object) {
    effect('read', 'opening of the network database', failure, () => {
      // SQLite rolls back a transaction that a killed daemon had begun.
      if (this.isTransaction) this.#rows.db.exec('ROLLBACK');
    });
  }

  get isTransaction(): boolean {
    return this.#rows.db.isTransaction;
  }

  exec(sql: string): void {
    const { db } = this.#rows;
    if (sql === 'COMMIT') return write('commit', () => db.exec(sql));
    if (this.isTransaction || /^(BEGIN|PRAGMA)/.test(sql)) return db.exec(sql);
    write('write', () => db.exec(sql));
  }

  prepare(sql: string): Statement {
    const prepared = this.#rows.prepare(sql);
    const run = (...values: SQLInputValue[]): StatementResultingChanges =>
      this.isTransaction ? prepared.run(...values) : write('write', () => prepared.run(...values));
    return {
      run: run as StatementSync['run'],
      all: prepared.all.bind(prepared),
      get: prepared.get.bind(prepared),
      iterate: prepared.iterate.bind(prepared),
    };
  }

  close(): void {
    if (this.isTransaction) this.#rows.db.exec('ROLLBACK');
  }
}
