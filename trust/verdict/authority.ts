import type { Reason } from '../types.ts';
import type { Constraints } from '../policy/constraint-set.ts';
import { constrain } from './constraints.ts';
import { codeOf } from './evaluation.ts';
import type { Answer, Evaluation, EvaluationContext, Evidence } from './evaluation.ts';
import type { SignatureFinding } from './signature-finding.ts';

/** One item of the evidence as one authority sees it. */
export interface CheckedSignature {
  /** Names the item and where it was found: begins the sentence that the finding completes. */
  readonly place: string;
  readonly finding: SignatureFinding;
}

/**
 * What the signatures found come to for one authority: satisfied when one counts after the policy's constraints, `unknown` when none
 * does and a source could not be asked. Each item, counted or not, is a reason of its own.
 * @param what the authority in words, such as "a cosign signature by the key k.pub"
 */
export function evaluateAuthority(
  what: string,
  checked: readonly CheckedSignature[],
  constraints: Constraints | undefined,
  evidence: Pick<Evidence, 'unreachable'>,
  context: EvaluationContext,
  noun: 'signature' | 'attestation' = 'signature',
): Evaluation {
  const findings = checked.map(({ place, finding }) => ({ place, finding: constrain(finding, constraints, context) }));
  const counted = findings.filter(({ finding }) => finding.counted);
  const missing = evidence.unreachable.map(({ source, why }): Reason => ({
    counted: false,
    text: `${source} could not be asked: ${why}`,
    code: 'TRUST_SOURCE_UNREACHABLE',
  }));
  const open = missing.length > 0 || findings.some(({ finding }) => finding.undecided === true);
  const answer: Answer = counted.length > 0 ? 'yes' : open ? 'unknown' : 'no';
  const outcome =
    checked.length === 0
      ? `no ${noun} was found for this image`
      : `${counted.length} of ${checked.length} ${noun}${checked.length === 1 ? '' : 's'} found count${counted.length === 1 ? 's' : ''}`;
  const children = findings.map(({ place, finding }): Reason => ({
    counted: finding.counted,
    text: `${place}: ${finding.says}`,
    code: finding.code,
    ...(finding.notes === undefined ? {} : { children: finding.notes }),
  }));
  const signers = [...new Set(counted.flatMap(({ finding }) => (finding.proven?.signer ? [finding.proven.signer] : [])))].sort();
  const validUntil = holdsUntil(findings.map(({ finding }) => finding));
  return {
    answer,
    reason: { counted: answer === 'yes', text: `${what}: ${outcome}`, code: codeOf(answer), children: [...children, ...missing] },
    ...(counted.length > 0 && counted.every(({ finding }) => finding.unproven === true) ? { unproven: true } : {}),
    ...(signers.length === 0 ? {} : { signers }),
    ...(validUntil === undefined ? {} : { validUntil }),
  };
}

/** A yes holds until the last signature that counts stops to; a no until the first that does not yet count may. */
function holdsUntil(findings: readonly SignatureFinding[]): string | undefined {
  const counted = findings.filter((finding) => finding.counted);
  if (counted.some(({ validUntil }) => validUntil === undefined)) return undefined;
  const times = (counted.length > 0 ? counted : findings).flatMap(({ validUntil }) => (validUntil === undefined ? [] : [validUntil]));
  const order = times.toSorted((a, b) => Date.parse(a) - Date.parse(b));
  return counted.length > 0 ? order.at(-1) : order[0];
}
