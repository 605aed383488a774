import type { Database } from '../../../base/storage/index.ts';
import { appendStatement } from './append.ts';

export interface RetentionInput {
  readonly days: number;
  readonly now: Date;
  /** Verdicts that containers and images still name: their texts stay. */
  readonly verdictsInUse: readonly string[];
  /** A SELECT of dossier ids that stay because something else than the log needs them. */
  readonly dossiersInUse: string;
}

const dropped = {
  verdict_text: `id NOT IN (SELECT id FROM verdict_log WHERE seq > ?1 AND kind = 'verdict') AND id NOT IN (SELECT value FROM json_each(?2))`,
  policy_text: `digest NOT IN (SELECT policy FROM verdict_log WHERE kind = 'verdict' AND (seq > ?1 OR id IN (SELECT value FROM json_each(?2))))`,
};

/**
 * Drops texts of verdicts, dossiers and policies that only rows older than `days` name. The rows stay, so the chain goes on unbroken, and a row
 * of the log says up to where texts may be missing: in the same transaction. Nothing to drop: nothing is written.
 * @returns how many verdict texts were dropped
 */
export async function dropOldTexts(database: Database, input: RetentionInput): Promise<number> {
  if (input.days === 0) return 0;
  const before = new Date(input.now.getTime() - input.days * 86_400_000).toISOString();
  const old = await database.get<{ through: number | null }>('SELECT max(seq) AS through FROM verdict_log WHERE time < ?', [before]);
  const through = old?.through ?? 0;
  if (through === 0) return 0;
  const params = [through, JSON.stringify(input.verdictsInUse)];
  const count = await database.get<{ n: number }>(`SELECT count(*) AS n FROM verdict_text WHERE ${dropped.verdict_text}`, params);
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
      sql: `DELETE FROM evidence_part WHERE digest NOT IN (SELECT item.value ->> '$.blobDigest' FROM dossier, json_each(dossier.json, '$.items') AS item
        WHERE item.value ->> '$.apart')`,
    },
  ]);
  return results[1]?.changes ?? 0;
}
