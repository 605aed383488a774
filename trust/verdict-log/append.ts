import { parseJson } from '../../base/json/index.ts';
import type { Database, Statement } from '../../base/storage/index.ts';
import { canonicalJson } from '../json/canonical-json.ts';
import { partsOf, withoutParts } from '../evidence/evidence-parts.ts';
import type { Dossier, Verdict } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import { genesis } from './chain.ts';
import type { LogEntry } from './entry.ts';
import { policyText } from '../policy/policy-text.ts';
import { verdictText } from './texts.ts';

/**
 * Returns the statements that make a verdict durable: they store its dossier, its policy and its text, where
 * not stored yet, and its row. Run them in the transaction of the action that the verdict is about. The
 * sequence number and the hash are computed inside the transaction, so that simultaneous rows never collide.
 * @throws PortcullisError `TRUST_POLICY_NOT_PORTABLE`
 */
export function verdictLogStatements(
  verdict: Verdict,
  given: { readonly dossier: Dossier; readonly policy: TrustPolicy; readonly time: Date },
): readonly Statement[] {
  const policy = policyText(given.policy);
  const { id, outcome, reference, namespace, digest, decidedAt, policyRevision } = verdict;
  return [
    ...dossierStatements(given.dossier),
    {
      sql: 'INSERT INTO policy_text (digest, json) VALUES (?, ?) ON CONFLICT DO NOTHING',
      params: [policy.digest, policy.json],
    },
    verdictTextStatement(id, verdictText(verdict)),
    appendStatement({
      kind: 'verdict',
      time: given.time.toISOString(),
      verdict: id,
      outcome,
      reference,
      namespace,
      digest,
      decidedAt,
      dossier: verdict.dossierId,
      policyRevision,
      policy: policy.digest,
    }),
  ];
}

/**
 * Stores a dossier and, once for all dossiers, the parts that are kept apart. An earlier dossier with the
 * same evidence is kept.
 */
function dossierStatements(dossier: Dossier): Statement[] {
  const parts = partsOf(dossier).map(({ digest, bytes }) => ({
    sql: 'INSERT INTO evidence_part (digest, bytes) VALUES (?, ?) ON CONFLICT DO NOTHING',
    params: [digest, bytes],
  }));
  const json = JSON.stringify(withoutParts(dossier));
  return [
    ...parts,
    {
      sql: 'INSERT INTO dossier (id, json) VALUES (?, ?) ON CONFLICT DO NOTHING',
      params: [dossier.id, json],
    },
  ];
}

/** Returns the statement that stores the text of a verdict, unless it is stored. */
export function verdictTextStatement(id: string, json: string): Statement {
  return {
    sql: 'INSERT INTO verdict_text (id, json) VALUES (?, ?) ON CONFLICT DO NOTHING',
    params: [id, json],
  };
}

/** Appends a row to the end of the chain (see `rowHash`). */
export function appendStatement(entry: LogEntry): Statement {
  return {
    sql: `INSERT INTO verdict_log (seq, entry, evidence, hash)
SELECT seq, entry, evidence, sha256(seq || char(10) || previous || char(10) || evidence || char(10) || entry) FROM (
  SELECT coalesce((SELECT max(seq) FROM verdict_log), 0) + 1 AS seq, ? AS entry,
    coalesce((SELECT sha256(json) FROM dossier WHERE id = ?), '') AS evidence,
    coalesce((SELECT hash FROM verdict_log ORDER BY seq DESC LIMIT 1), '${genesis}') AS previous)`,
    params: [canonicalJson(entry), entry.kind === 'verdict' ? entry.dossier : ''],
    expectChanges: 1,
  };
}

/**
 * Finds a verdict of the log by its id. When the same verdict was given more than once, the first one is
 * returned.
 * @returns undefined when there is none or retention has dropped it
 * @throws PortcullisError of base/storage when the database cannot be read
 */
export async function findVerdict(database: Pick<Database, 'get'>, id: string): Promise<Verdict | undefined> {
  const row = await database.get<{ json: string; decided_at: string }>(
    "SELECT json, entry ->> '$.decidedAt' AS decided_at FROM verdict_text JOIN verdict_log USING (id) WHERE id = ? AND kind = 'verdict' ORDER BY seq LIMIT 1",
    [id],
  );
  return row === undefined
    ? undefined
    : { ...(parseJson(row.json) as Omit<Verdict, 'decidedAt' | 'id'>), decidedAt: row.decided_at, id };
}
