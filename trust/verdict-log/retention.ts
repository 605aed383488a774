import type { Database } from '../../base/storage/index.ts';
import { appendStatement } from './append.ts';

export interface RetentionInput {
  readonly days: number;
  readonly now: Date;
  /** Verdicts that containers and images still refer to: their texts are kept. */
  readonly verdictsInUse: readonly string[];
  /** A SELECT of the dossier ids to keep because another component needs them. */
  readonly dossiersInUse: string;
}

const dropped = {
  verdict_text: `id NOT IN (SELECT id FROM verdict_log WHERE seq > ?1 AND kind = 'verdict') AND id NOT IN (SELECT value FROM json_each(?2))`,
  policy_text: `digest NOT IN (SELECT policy FROM verdict_log WHERE kind = 'verdict' AND (seq > ?1 OR id IN (SELECT value FROM json_each(?2))))`,
};

/**
 * Drops texts of verdicts, dossiers and policies that only rows older than `days` refer to. The rows stay, so
 * the chain is unbroken. A new row, in the same transaction, says up to where texts may be missing. Writes
 * nothing when there is nothing to drop.
 * @returns the number of dropped verdict texts
 */
export async function dropOldTexts(database: Database, input: RetentionInput): Promise<number> {
  if (input.days === 0) return 0;
  const before = new Date(input.now.getTime() - input.days * 86_400_000).toISOString();
  const old = await database.get<{ through: number | null }>(
    'SELECT max(seq) AS through FROM verdict_log WHERE time < ?',
    [before],
  );
  const through = old?.through ?? 0;
  if (through === 0) return 0;
  const params = [through, JSON.stringify(input.verdictsInUse)];
  const count = await database.get<{ n: number }>(
    `SELECT count(*) AS n FROM verdict_text WHERE ${dropped.verdict_text}`,
    params,
  );
  if ((count?.n ?? 0) === 0) return 0;
  const results = await database.write([
    appendStatement({ kind: 'retention', time: input.now.toISOString(), through, days: input.days }),
    { sql: `DELETE FROM verdict_text WHERE ${dropped.verdict_text}`, params },
    { sql: `DELETE FROM policy_text WHERE ${dropped.policy_text}`, params },
    {
      sql: `DELETE FROM dossier WHERE id NOT IN (SELECT dossier FROM verdict_log WHERE kind = 'verdict' AND (seq > ?1 OR id IN (SELECT value FROM json_each(?2))))
        AND id NOT IN (${input.dossiersInUse})`,
      params,
    },
    {
      // A damaged dossier has no parts that could be read. SQLite would refuse the whole statement.
      sql: `DELETE FROM evidence_part WHERE digest NOT IN (SELECT item.value ->> '$.blobDigest' FROM dossier, json_each(iif(json_valid(dossier.json), dossier.json, '{}'), '$.items') AS item
        WHERE item.value ->> '$.apart')`,
    },
  ]);
  return results[1]?.changes ?? 0;
}
