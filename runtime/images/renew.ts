import type { Database } from '../../base/storage/index.ts';
import type { Dossier, Platform, Verdict } from '../../trust/index.ts';
import { findVerdict } from '../../trust/verdict-log/index.ts';
import type { Decisions, Question } from './decisions.ts';
import type { ImageRecords } from './records.ts';
import type { RenewedName } from './stored-image.ts';
import type { EvidenceInUse } from './types.ts';

/** Returns the evidence that admitted the recorded names, each item once per image. */
export function evidenceInUse(records: ImageRecords, imageId?: string): readonly EvidenceInUse[] {
  const wanted =
    imageId === undefined ? records.list() : [records.byId(imageId)].filter((image) => image !== undefined);
  return wanted.flatMap(({ id, names }) =>
    [...Map.groupBy(names, ({ dossier }) => dossier.id).values()].flatMap((rows) => {
      const [first] = rows;
      return first === undefined
        ? []
        : [{ dossier: first.dossier, names: rows.map(({ name }) => name), imageId: id }];
    }),
  );
}

/**
 * Decides again about each name by newer evidence, as at its pull, and records evidence, verdicts and log
 * rows in one transaction.
 */
export async function renewEvidenceOf(
  parts: {
    readonly records: ImageRecords;
    readonly decisions: Decisions;
    readonly platform: Platform;
    readonly database: Database;
  },
  old: EvidenceInUse,
  dossier: Dossier,
): Promise<readonly Verdict[]> {
  const { records, decisions, database } = parts;
  const policy = decisions.policy('renew the evidence of', old.imageId);
  const rows = records.byId(old.imageId)?.names.filter((row) => row.dossier.id === old.dossier.id) ?? [];
  const renewed: RenewedName[] = [];
  const answers = [];
  for (const row of rows) {
    const before = await findVerdict(database, row.verdictId);
    const { namespace = '', platform = parts.platform } = before ?? {};
    const question: Question = { dossier, reference: row.name, namespace, platform };
    await decisions.prepare(policy, question);
    const answer = decisions.again(policy, question);
    answers.push(answer);
    const { verdict } = answer;
    renewed.push({
      name: row.name,
      dossier,
      verdictId: verdict.id,
      unverified: verdict.outcome === 'admit' ? verdict.unverified : row.unverified,
    });
  }
  await records.renew(
    old.dossier.id,
    renewed,
    answers.flatMap(({ log }) => log),
  );
  for (const { verdict } of answers) decisions.logged(verdict);
  return answers.map(({ verdict }) => verdict);
}
