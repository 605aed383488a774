import { attempt } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { Database } from '../../base/storage/index.ts';
import type { Dossier, Platform, TrustPolicy, Verdict } from '../../trust/index.ts';
import { findVerdict } from '../../trust/verdict-log/index.ts';
import type { Decided, Decisions, Question } from './decisions.ts';
import { imageError } from './limits/failures.ts';
import { findImage, gone, idForm } from './find-image.ts';
import { tryImageName } from './image-name.ts';
import type { ImageRecords } from './records.ts';
import type { NameRow, StoredImage } from './stored-image.ts';
import type { ImageRecord, JudgedImage } from './types.ts';

/**
 * Decides about a recorded image for one namespace, from the evidence found under each name. Resolves only
 * with an admitting verdict. With several names, the verdict combines the ceilings, and the bounding signed
 * statements, of all of them. A verdict is logged the first time it is given in a run.
 */
export async function decideForRun(
  records: ImageRecords,
  decisions: Decisions,
  platform: Platform,
  input: { readonly image: ImageRecord; readonly userSpecified: string; readonly namespace: string },
): Promise<Verdict> {
  const attempted = 'run image';
  const stored = records.byId(input.image.id);
  if (stored === undefined) throw gone(attempted, input.image.id);
  const names = namesToDecide(stored, input.userSpecified);
  const questions = names.map(({ name, dossier }) => ({
    dossier,
    reference: name,
    namespace: input.namespace,
    platform,
  }));
  let policy: TrustPolicy;
  let verdicts: readonly Verdict[];
  do {
    policy = decisions.policy(attempted, stored.id);
    verdicts = await decideAgain(records, decisions, policy, questions);
    // The policy may have been reloaded meanwhile: an image that runs is admitted by the policy in force at
    // that moment.
  } while (decisions.policy(attempted, stored.id).revision !== policy.revision);
  const refused = verdicts.find(({ outcome }) => outcome !== 'admit');
  if (refused !== undefined) throw decisions.refusal(refused, attempted);
  const [first, ...others] = verdicts;
  if (first === undefined) throw gone(attempted, stored.id);
  if (others.length === 0) return first;
  const exceptions = verdicts.flatMap((verdict) => verdict.exceptions ?? []);
  const requested = new Map(
    verdicts.flatMap((verdict) => verdict.requestedEntitlements ?? []).map((one) => [one.attestation, one]),
  );
  return {
    ...first,
    ...(exceptions.length > 0 && { exceptions }),
    ...(requested.size > 0 && { requestedEntitlements: [...requested.values()] }),
    ceilings: [...first.ceilings, ...others.flatMap((verdict) => verdict.ceilings)],
    unverified: [first, ...others].some((verdict) => verdict.unverified),
  };
}

async function decideAgain(
  records: ImageRecords,
  decisions: Decisions,
  policy: TrustPolicy,
  questions: readonly Question[],
): Promise<readonly Verdict[]> {
  const answers: Decided[] = [];
  for (const question of questions) {
    await decisions.prepare(policy, question);
    answers.push(decisions.again(policy, question));
  }
  const statements = answers.flatMap(({ log }) => log);
  if (statements.length > 0) await records.append(statements);
  for (const { verdict } of answers) decisions.logged(verdict);
  return answers.map(({ verdict }) => verdict);
}

interface JudgeDeps {
  readonly records: ImageRecords;
  readonly decisions: Decisions;
  readonly platform: Platform;
  readonly database: Database;
}

/**
 * Decides as {@link decideForRun}, about an image that was admitted before: a name that has moved to another
 * image, or an image that was removed, is judged by the evidence that was recorded then.
 */
export async function judge(deps: JudgeDeps, input: JudgedImage): Promise<readonly Verdict[]> {
  const policy = deps.decisions.policy('decide again about', input.imageId);
  const { questions, lost } = await questionsAbout(deps, input);
  return lost === undefined ? decideAgain(deps.records, deps.decisions, policy, questions) : [lost];
}

/**
 * Decides as {@link judge}, by a policy that need not be in force. Logs nothing, because the verdict is not
 * used.
 */
export async function foresee(
  deps: JudgeDeps,
  policy: TrustPolicy,
  input: JudgedImage,
): Promise<readonly Verdict[]> {
  const { questions, lost } = await questionsAbout(deps, input);
  if (lost !== undefined) return [lost];
  const verdicts: Verdict[] = [];
  for (const question of questions) verdicts.push(await deps.decisions.foresee(policy, question));
  return verdicts;
}

/** @returns `lost`: the verdict that admitted the image, when its evidence is no longer stored */
async function questionsAbout(
  { records, platform: own, database }: JudgeDeps,
  input: JudgedImage,
): Promise<{ readonly questions: readonly Question[]; readonly lost?: Verdict }> {
  const admission = input.verdictId === '' ? undefined : await findVerdict(database, input.verdictId);
  const platform = admission?.platform ?? own;
  const namespace = input.namespace ?? admission?.namespace ?? '';
  const stored = findImage(records, input.imageId);
  const names = stored === undefined ? [] : namesToDecide(stored, input.userSpecified, () => []);
  const questions = names.map(({ name, dossier }): Question => ({
    dossier,
    reference: name,
    namespace,
    platform,
  }));
  if (questions.length > 0 || admission === undefined) return { questions };
  const row = await database.get<{ json: string }>('SELECT json FROM dossier WHERE id = ?', [
    admission.dossierId,
  ]);
  const dossier = attempt(() => parseJson(row?.json ?? '') as Dossier);
  if (dossier === undefined) return { questions: [], lost: { ...admission, outcome: 'undecided' } };
  return { questions: [{ dossier, reference: admission.reference, namespace, platform }] };
}

/**
 * Returns the name that the caller used, as recorded for the image; without one, every name that was pulled.
 */
function namesToDecide(
  image: StoredImage,
  userSpecified: string,
  unknown: () => readonly NameRow[] = () => {
    throw nameNotRecorded(image, userSpecified);
  },
): readonly NameRow[] {
  const hex = idForm.exec(userSpecified)?.[1];
  const byId = userSpecified === '' || (hex !== undefined && image.id.startsWith(`sha256:${hex}`));
  if (!byId) {
    const wanted = tryImageName(userSpecified);
    const row = image.names.find(({ name }) => name === wanted?.text);
    if (row !== undefined) return [row];
    return unknown();
  }
  const asked = image.names.filter((name) => name.asked);
  return asked.length > 0 ? asked : image.names;
}

function nameNotRecorded(image: StoredImage, userSpecified: string): Error {
  return imageError({
    code: 'IMAGES_NAME_NOT_RECORDED',
    kind: 'denied',
    attempted: 'run image',
    on: userSpecified,
    why: `${image.id} was never pulled under that name, so nothing proves that the name refers to it`,
    fix: 'pull the image under that name first',
    prefix: 'SignatureValidationFailed',
    details: { image: image.id },
  });
}
