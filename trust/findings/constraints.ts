import { describePattern, textMatches } from '../requirements/text-pattern.ts';
import { describeSignedIdentity, signedIdentityMatches } from '../requirements/signed-identity.ts';
import type { Constraints } from '../requirements/constraint-set.ts';
import { earliest } from './evaluation.ts';
import type { EvaluationContext } from './evaluation.ts';
import type { ProvenFacts, SignatureFinding } from './signature-finding.ts';

/**
 * Allowed difference in ms between the clocks of signers and of this machine: within it, a signature is not
 * in the future.
 */
const clockSkew = 5 * 60 * 1000;

type Judgement =
  | { readonly code: string; readonly says: string; readonly validUntil?: string }
  | { readonly validUntil?: string };

/**
 * Checks a valid signature against the policy's constraints: which digest, which name, annotations, age.
 * Every type of authority calls this for each finding. Pure. A constraint is satisfied only by proven facts.
 */
export function constrain(
  finding: SignatureFinding,
  constraints: Constraints | undefined,
  context: EvaluationContext,
): SignatureFinding {
  if (!finding.counted || constraints === undefined) return finding;
  const proven = finding.proven ?? { signer: '' };
  const judgements = [
    judgePart(constraints, finding.names),
    judgeIdentity(constraints, proven, context),
    judgeAnnotations(constraints, proven),
    judgeAge(constraints, proven, context),
  ];
  const validUntil = earliest([finding.validUntil, ...judgements.map((one) => one.validUntil)]);
  const until = validUntil === undefined ? {} : { validUntil };
  const failed = judgements.filter((judgement) => 'code' in judgement);
  const [first] = failed;
  if (first === undefined) return { ...finding, ...until };
  const { proven: _unused, ...rest } = finding;
  return {
    ...rest,
    ...until,
    counted: false,
    code: first.code,
    says: `${finding.says}; but ${failed.map(({ says }) => says).join(', and ')}`,
  };
}

function judgePart({ signs }: Constraints, names: SignatureFinding['names']): Judgement {
  if (signs === undefined || names?.includes(signs) === true) return {};
  const wanted = signs === 'index' ? "the image's index" : "the platform's manifest";
  const has = names?.[0] === undefined ? 'nothing proves that' : `the signature names the ${names[0]}`;
  return {
    code: 'TRUST_SIGNATURE_OTHER_PART',
    says: `the rule requires a signature of ${wanted} (signs: ${signs}) and ${has}`,
  };
}

function judgeIdentity(
  { signedIdentity }: Constraints,
  { claimedReference }: ProvenFacts,
  { reference }: EvaluationContext,
): Judgement {
  if (signedIdentity === undefined) return {};
  const wanted = `it must be made for ${describeSignedIdentity(signedIdentity, reference)}`;
  if (claimedReference === undefined)
    return { code: 'TRUST_IDENTITY_UNPROVEN', says: `${wanted}, and it carries no name` };
  if (signedIdentityMatches(signedIdentity, reference, claimedReference)) return {};
  return { code: 'TRUST_IDENTITY_OTHER', says: `${wanted}, and it was made for ${shown(claimedReference)}` };
}

function judgeAnnotations(constraints: Constraints, { annotations = {} }: ProvenFacts): Judgement {
  const missing = Object.entries(constraints.annotations ?? {}).filter(([name, pattern]) => {
    const value = Object.hasOwn(annotations, name) ? annotations[name] : undefined;
    return value === undefined || !textMatches(pattern, value);
  });
  if (missing.length === 0) return {};
  const says = missing.map(([name, pattern]) => {
    const value = Object.hasOwn(annotations, name) ? annotations[name] : undefined;
    const has = value === undefined ? 'is not among the signed annotations' : `is ${shown(value)}`;
    return `the annotation ${name} must be ${describePattern(pattern)} and ${has}`;
  });
  return { code: 'TRUST_ANNOTATION_UNMET', says: says.join(', and ') };
}

function judgeAge(
  { maxAge, notBefore }: Constraints,
  { signedAt }: ProvenFacts,
  { now }: EvaluationContext,
): Judgement {
  if (maxAge === undefined && notBefore === undefined) return {};
  const time = signedAt === undefined ? Number.NaN : Date.parse(signedAt.time);
  if (signedAt === undefined || Number.isNaN(time))
    return {
      code: 'TRUST_TIME_UNPROVEN',
      says: 'nothing proves when it was signed, but the rule limits its age',
    };
  const at = `it was signed at ${signedAt.time} (proven by the ${signedAt.provenBy})`;
  if (time > now.getTime() + clockSkew)
    return {
      code: 'TRUST_TIME_FUTURE',
      says: `${at}, which is in the future`,
      validUntil: new Date(time - clockSkew).toISOString(),
    };
  if (notBefore !== undefined && time < Date.parse(notBefore))
    return { code: 'TRUST_SIGNATURE_TOO_OLD', says: `${at}, before ${notBefore}` };
  if (maxAge === undefined) return {};
  // No Date is later: a larger limit never ends.
  const end = new Date(Math.min(time + maxAge * 1000, 8.64e15));
  if (!(now.getTime() < end.getTime()))
    return {
      code: 'TRUST_SIGNATURE_TOO_OLD',
      says: `${at}, and the rule requires that it is younger than ${maxAge} s`,
    };
  return { validUntil: end.toISOString() };
}

/** Returns a signer's text for display: bounded and without control characters. */
function shown(text: string): string {
  return JSON.stringify(text.slice(0, 200).replace(/[^\x20-\x7e]/g, '?'));
}
