import { parseJson } from '../../base/json/index.ts';
import type { Database, Statement } from '../../base/storage/index.ts';
import type { Verdict } from '../findings/types.ts';
import { appendStatement, verdictTextStatement } from './append.ts';
import { verdictText } from './texts.ts';

interface OldRow {
  readonly seq: number;
  readonly id: string;
  readonly outcome: 'admit' | 'deny' | 'undecided';
  readonly reference: string;
  readonly digest: string;
  readonly namespace: string;
  readonly decided_at: string;
  readonly json: string;
}

const batch = 200;

/**
 * Adopts the rows of versions without a chain into the chain, oldest first, before any other row is appended.
 * The content of an old row is not changed: if it had been altered before, `verifyLog` will always report it.
 * After an interruption, this continues at the next start.
 */
export async function takeOldRows(database: Database): Promise<number> {
  const table = await database.get(
    "SELECT 1 AS yes FROM sqlite_schema WHERE type = 'table' AND name = 'verdict_log_unchained'",
  );
  if (table === undefined) return 0;
  let taken = 0;
  for (;;) {
    const rows = await database.all<OldRow>('SELECT * FROM verdict_log_unchained ORDER BY seq LIMIT ?', [
      batch,
    ]);
    const last = rows.at(-1);
    if (last === undefined) break;
    await database.write([
      ...rows.flatMap(statementsOf),
      {
        sql: 'DELETE FROM verdict_log_unchained WHERE seq <= ?',
        params: [last.seq],
        expectChanges: rows.length,
      },
    ]);
    taken += rows.length;
  }
  await database.write([{ sql: 'DROP TABLE verdict_log_unchained' }]);
  return taken;
}

function statementsOf(row: OldRow): Statement[] {
  const { text, dossier, policyRevision } = readOld(row.json);
  return [
    verdictTextStatement(row.id, text),
    appendStatement({
      kind: 'verdict',
      time: row.decided_at,
      verdict: row.id,
      outcome: row.outcome,
      reference: row.reference,
      namespace: row.namespace,
      digest: row.digest,
      decidedAt: row.decided_at,
      dossier,
      policyRevision,
      // Old versions did not store policies. Such a verdict is replayed with the given policy if its revision
      // is the same.
      policy: '',
    }),
  ];
}

function readOld(json: string): {
  readonly text: string;
  readonly dossier: string;
  readonly policyRevision: string;
} {
  try {
    const verdict = parseJson(json) as Verdict;
    return {
      text: verdictText(verdict),
      dossier: String(verdict.dossierId),
      policyRevision: String(verdict.policyRevision),
    };
  } catch {
    return { text: json, dossier: '', policyRevision: '' };
  }
}
