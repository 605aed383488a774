import type { Reason } from './types.ts';
import type { Constraints } from '../requirements/constraint-set.ts';
import { constrain } from './constraints.ts';
import { codeOf, earliest } from './evaluation.ts';
import type { Answer, Evaluation, EvaluationContext, Evidence, SignerNames } from './evaluation.ts';
import type { SignatureFinding } from './signature-finding.ts';

/** One item of evidence, checked for one authority. */
export interface CheckedSignature {
  /** Names the item and where it was found: the start of the sentence that the finding completes. */
  readonly place: string;
  readonly finding: SignatureFinding;
}

/**
 * Combines the signatures found for one authority. The result is yes when at least one counts under the
 * policy's constraints, and `unknown` when none does and a source could not be reached. Each item is a reason
 * of its own, whether it counts or not.
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
  const findings = checked.map(({ place, finding }) => ({
    place,
    finding: constrain(finding, constraints, context),
  }));
  const counted = findings.filter(({ finding }) => finding.counted);
  const missing = evidence.unreachable.map(({ source, why, inPart }): Reason => ({
    counted: false,
    text: `${source} ${inPart === true ? 'was read only in part' : 'could not be reached'}: ${why}`,
    code: inPart === true ? 'TRUST_SOURCE_IN_PART' : 'TRUST_SOURCE_UNREACHABLE',
  }));
  const open = missing.length > 0 || findings.some(({ finding }) => finding.undecided === true);
  const answer: Answer = counted.length > 0 ? 'yes' : open ? 'unknown' : 'no';
  const outcome =
    checked.length === 0
      ? `no ${noun} was found for this image`
      : outcomeOf(checked.length, counted.length, noun);
  const children = findings.map(({ place, finding }): Reason => ({
    counted: finding.counted,
    text: `${place}: ${finding.says}`,
    code: finding.code,
    ...(finding.notes === undefined ? {} : { children: finding.notes }),
  }));
  const { signers, signersUntil } = signersOf(findings.map(({ finding }) => finding));
  const validUntil = holdsUntil(findings.map(({ finding }) => finding));
  return {
    answer,
    reason: {
      counted: answer === 'yes',
      text: `${what}: ${outcome}`,
      code: codeOf(answer),
      children: [...children, ...missing],
    },
    ...(counted.length > 0 && counted.every(({ finding }) => finding.unproven === true)
      ? { unproven: true }
      : {}),
    ...(signers.length === 0 ? {} : { signers }),
    ...(signersUntil === undefined ? {} : { signersUntil }),
    ...(validUntil === undefined ? {} : { validUntil }),
  };
}

/** Returns for example `1 signature was found, and it counts`. */
function outcomeOf(found: number, counted: number, noun: string): string {
  if (found === 1) return `1 ${noun} was found, ${counted === 1 ? 'and it counts' : 'but it does not count'}`;
  const counts = counted === 1 ? 'counts' : 'count';
  return `${found} ${noun}s were found, ${counted === 0 ? 'but none of them counts' : `and ${counted} of them ${counts}`}`;
}

/**
 * Returns the signers, and the time at which one of them may stop to count or another one may begin. A signer
 * counts until the last of its signatures stops counting.
 */
function signersOf(findings: readonly SignatureFinding[]): {
  readonly signers: readonly SignerNames[];
  readonly signersUntil: string | undefined;
} {
  const found = new Map<string, { readonly names: SignerNames; readonly findings: SignatureFinding[] }>();
  for (const finding of findings) {
    const { signer = '', also = [] } = finding.proven ?? {};
    if (!finding.counted || signer === '') continue;
    const names = [signer, ...also];
    const key = JSON.stringify(names);
    const one = found.get(key) ?? { names, findings: [] };
    one.findings.push(finding);
    found.set(key, one);
  }
  const ordered = [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
  return {
    signers: ordered.map(({ names }) => names),
    signersUntil: earliest([
      ...ordered.map((one) => holdsUntil(one.findings)),
      ...findings.filter(({ counted }) => !counted).map(({ validUntil }) => validUntil),
    ]),
  };
}

/**
 * Returns the time at which the answer may change: a yes is valid until the last counting signature stops
 * counting, a no until the first other signature may start to count.
 */
function holdsUntil(findings: readonly SignatureFinding[]): string | undefined {
  const counted = findings.filter((finding) => finding.counted);
  if (counted.some(({ validUntil }) => validUntil === undefined)) return undefined;
  const times = (counted.length > 0 ? counted : findings).flatMap(({ validUntil }) =>
    validUntil === undefined ? [] : [validUntil],
  );
  const order = times.toSorted((a, b) => Date.parse(a) - Date.parse(b));
  return counted.length > 0 ? order.at(-1) : order[0];
}
