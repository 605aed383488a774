import type { CelInput } from '@bufbuild/cel';
import { attempt } from '../../base/errors/index.ts';
import { parseReference } from '../../base/distribution/index.ts';
import { inTotoPayloadType } from '../evidence/cosign-names.ts';
import { holdToRoot } from '../cosign/root-expiry.ts';
import type { AttestationRequirement } from '../requirements/types.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { Constraints } from '../requirements/constraint-set.ts';
import { evaluateAuthority } from '../findings/authority.ts';
import { constrain } from '../findings/constraints.ts';
import type { CheckedSignature } from '../findings/authority.ts';
import { earliest } from '../findings/evaluation.ts';
import type { Evaluation, EvaluationContext, Evidence } from '../findings/evaluation.ts';
import { annotationsBeside, judgeDigests, untilOf } from '../findings/signature-finding.ts';
import type { SignatureFinding } from '../findings/signature-finding.ts';
import { compiledCel, loadedCel } from './cel-loaded.ts';
import type { CelLanguage } from './cel-loaded.ts';
import type { CelBudget } from './cel-budget.ts';
import { envelopeOf } from './envelope.ts';
import { describeAttestation } from './explain-attestation.ts';
import { judgeSummary } from './judge-summary.ts';
import { statementOf } from './statement.ts';
import type { Statement } from './statement.ts';
import { verifyEnvelope } from './verify-envelope.ts';

/**
 * How long an answer that depends on the time is valid, in ms: an expression may compare with `now` in any
 * way.
 */
const answerHolds = 60_000;

/**
 * Evaluates whether an authority of the policy has attested what the requirement asks: an envelope that it
 * signed (DSSE) with an in-toto statement about the image's index or manifest, of the predicate type, for
 * which every expression is true. Each attestation that was found is a reason. Pure, and never throws.
 */
export function evaluateAttestation(
  requirement: AttestationRequirement,
  evidence: Evidence,
  context: EvaluationContext,
): Evaluation {
  const { by } = requirement;
  const run: Run = { requirement, evidence, context, language: loadedCel() };
  const checked = evidence.items
    .filter(({ kind }) => kind === 'attestation')
    .map((item) => checkAttestation(item, run).checked);
  const what = describeAttestation(requirement);
  return holdToRoot(
    evaluateAuthority(what, checked, mergedConstraints(requirement), evidence, context, 'attestation'),
    by,
    context,
  );
}

/** Returns the statements that meet a requirement, with their predicates as signed. Pure. */
export function countedStatements(
  requirement: AttestationRequirement,
  evidence: Evidence,
  context: EvaluationContext,
): readonly Statement[] {
  // A root that has expired proves nothing, whatever each statement says.
  if (evaluateAttestation(requirement, evidence, context).answer !== 'yes') return [];
  const run: Run = { requirement, evidence, context, language: loadedCel() };
  return evidence.items
    .filter(({ kind }) => kind === 'attestation')
    .flatMap((item) => {
      const { checked, statement } = checkAttestation(item, run);
      const { counted } = constrain(checked.finding, mergedConstraints(requirement), context);
      return counted && statement !== undefined ? [statement] : [];
    });
}

/** One evaluation of one requirement. */
interface Run {
  readonly requirement: AttestationRequirement;
  readonly evidence: Evidence;
  readonly context: EvaluationContext;
  readonly language: CelLanguage | undefined;
  budget?: CelBudget;
}

/** Checks one item for a requirement. Returns the statement too when the item counts. */
export function checkAttestation(
  item: EvidenceItem,
  run: Run,
): { readonly checked: CheckedSignature; readonly statement?: Statement } {
  const place = describePlace(item, run.evidence);
  const envelope = envelopeOf(item);
  if ('problem' in envelope) return { checked: { place, finding: refused(envelope.code, envelope.problem) } };
  const { requirement, context } = run;
  let statement: Statement;
  try {
    statement = statementOf(envelope);
  } catch (error) {
    return {
      checked: {
        place,
        finding: refused('TRUST_ATTESTATION_MALFORMED', `it is malformed: ${(error as Error).message}`),
      },
    };
  }
  if (statement.predicateType !== requirement.predicateType)
    return {
      checked: {
        place,
        finding: refused(
          'TRUST_ATTESTATION_OTHER_TYPE',
          `it is of the type ${shown(statement.predicateType)}`,
        ),
      },
    };
  const signed = verifyEnvelope(envelope, requirement.by, context.now);
  if ('problem' in signed)
    return { checked: { place, finding: { ...refused(signed.code, signed.problem), ...untilOf(signed) } } };
  // The signature covers the type, so the type is checked after the signature.
  if (envelope.payloadType !== inTotoPayloadType)
    return {
      checked: {
        place,
        finding: refused(
          'TRUST_ATTESTATION_MALFORMED',
          `its payload is ${shown(envelope.payloadType)}, not an in-toto statement`,
        ),
      },
    };
  const named = judgeDigests(
    statement.subjects.map(({ digest }) => digest),
    run.evidence,
    'the signature',
  );
  if (!named.counted) return { checked: { place, finding: named } };
  const { signs } = mergedConstraints(requirement) ?? {};
  const annotations = annotationsBeside(statement.subjects, run.evidence, signs);
  const finding: SignatureFinding = {
    ...named,
    ...untilOf(signed),
    proven: { ...signed.proven, annotations },
  };
  const expressed = judgeExpressions(finding, statement, run);
  const judged =
    requirement.summary === undefined || !expressed.counted
      ? expressed
      : judgeSummary(expressed, statement, requirement.summary, run.evidence, context);
  return { checked: { place, finding: judged }, statement };
}

/**
 * Returns the predicate type that an item claims, before anything is verified, or undefined when it cannot be
 * read.
 */
export function claimedType(item: EvidenceItem): string | undefined {
  const envelope = item.kind === 'attestation' ? envelopeOf(item) : undefined;
  if (envelope === undefined || 'problem' in envelope) return undefined;
  return attempt(() => statementOf(envelope).predicateType);
}

function judgeExpressions(finding: SignatureFinding, statement: Statement, run: Run): SignatureFinding {
  const { cel } = run.requirement;
  if (cel.length === 0) return finding;
  const { language } = run;
  if (language === undefined)
    return refused('TRUST_CEL_MISSING', `${finding.says}; but expressions were not loaded with the policy`);
  const budget = (run.budget ??= language.budget());
  const variables = variablesOf(finding, statement, run, language);
  let validUntil = finding.validUntil;
  for (const text of cel) {
    const expression = compiledCel(text, language);
    if (expression === undefined)
      return refused('TRUST_CEL_MISSING', `${finding.says}; but ${shown(text)} is not a valid expression`);
    if (expression.usesNow)
      validUntil = earliest([validUntil, new Date(run.context.now.getTime() + answerHolds).toISOString()]);
    const until = validUntil === undefined ? {} : { validUntil };
    const answer = expression.evaluate(variables, budget);
    if (answer === false)
      return { ...refused('TRUST_CEL_FALSE', `${finding.says}; but ${shown(text)} is false`), ...until };
    if (answer !== true)
      return {
        ...refused(
          'TRUST_CEL_FAILED',
          `${finding.says}; but ${shown(text)} cannot be evaluated over it: ${printable(answer.problem)}`,
        ),
        ...until,
      };
  }
  const says = `${finding.says}, and ${cel.length === 1 ? 'its expression is true' : `all ${cel.length} expressions are true`}`;
  return { ...finding, says, ...(validUntil === undefined ? {} : { validUntil }) };
}

function variablesOf(
  finding: SignatureFinding,
  statement: Statement,
  { evidence, context }: Run,
  { ofJson, timestamp }: CelLanguage,
): Readonly<Record<string, CelInput>> {
  const { registry, repository, tag = '' } = parseReference(context.reference);
  const { digest, manifestDigest } = evidence;
  return {
    predicate: ofJson(statement.predicate ?? null),
    predicateType: statement.predicateType,
    subject: ofJson(statement.value['subject']),
    statement: ofJson(statement.value),
    image: ofJson({ reference: context.reference, registry, repository, tag, digest, manifestDigest }),
    signer: finding.proven?.signer ?? '',
    now: timestamp(context.now),
  };
}

/** Merges constraints: those of the attestation take precedence over those of its authority. */
function mergedConstraints({ by, constraints }: AttestationRequirement): Constraints | undefined {
  const theirs = by.constraints;
  if (theirs === undefined || constraints === undefined) return constraints ?? theirs;
  const annotations = { ...theirs.annotations, ...constraints.annotations };
  return { ...theirs, ...constraints, ...(Object.keys(annotations).length === 0 ? {} : { annotations }) };
}

function refused(code: string, says: string): SignatureFinding {
  return { counted: false, code, says };
}

function describePlace(item: EvidenceItem, { digest, manifestDigest }: Evidence): string {
  const place = item.attachedTo === digest && digest !== manifestDigest ? 'the index' : 'the manifest';
  const name = item.blobDigest === '' ? item.manifestDigest : item.blobDigest;
  return `attestation ${name || '(unknown)'} beside ${place}, found by ${item.foundBy} at ${item.servedBy}`;
}

/** Returns a signer's text for display: bounded and without control characters. */
function shown(text: string): string {
  return JSON.stringify(printable(text));
}

function printable(text: string): string {
  return text.slice(0, 300).replace(/[^\x20-\x7e]/g, '?');
}
