import type { Database, Statement } from '../../base/storage/index.ts';
import type { Verdict } from '../types.ts';

/**
 * The table of verdicts. It lives in the database of whoever admits, so that a verdict and the admission it allows are one
 * transaction. Rows are only ever added: the triggers refuse anything else.
 */
export const verdictLogMigrationSql = `
CREATE TABLE verdict_log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('admit', 'deny', 'undecided')),
  reference TEXT NOT NULL,
  digest TEXT NOT NULL,
  namespace TEXT NOT NULL,
  decided_at TEXT NOT NULL,
  json TEXT NOT NULL
) STRICT;
CREATE INDEX verdict_log_id ON verdict_log (id);
CREATE TRIGGER verdict_log_no_update BEFORE UPDATE ON verdict_log BEGIN SELECT RAISE(ABORT, 'the verdict log is append-only'); END;
CREATE TRIGGER verdict_log_no_delete BEFORE DELETE ON verdict_log BEGIN SELECT RAISE(ABORT, 'the verdict log is append-only'); END;
`;

/** Appends a verdict; to be written in the transaction of the act it decides about. */
export function verdictLogStatement(verdict: Verdict): Statement {
  return {
    sql: 'INSERT INTO verdict_log (id, outcome, reference, digest, namespace, decided_at, json) VALUES (?, ?, ?, ?, ?, ?, ?)',
    params: [verdict.id, verdict.outcome, verdict.reference, verdict.digest, verdict.namespace, verdict.decidedAt, JSON.stringify(verdict)],
    expectChanges: 1,
  };
}

/** A verdict of the log by its id; undefined when none has it. The same verdict may have been given more than once: any will do. */
export async function findVerdict(database: Pick<Database, 'get'>, id: string): Promise<Verdict | undefined> {
  const row = await database.get<{ json: string }>('SELECT json FROM verdict_log WHERE id = ? LIMIT 1', [id]);
  return row === undefined ? undefined : (JSON.parse(row.json) as Verdict);
}
