import { evaluateSigstore } from '../cosign/evaluate.ts';
import { evaluateGpg } from '../gpg/evaluate.ts';
import { evaluateAttestation } from '../attestation/evaluate.ts';
import { evaluateNotation } from '../notation/evaluate.ts';
import { evaluateTuf } from '../tuf-requirement/evaluate.ts';
import type { Requirement } from '../requirements/types.ts';
import { distinctSigners } from './distinct-signers.ts';
import { oneNameEach } from './one-name-each.ts';
import { codeOf, earliest, isUnproven } from '../findings/evaluation.ts';
import type { Answer, Evaluation, EvaluationContext, Evidence } from '../findings/evaluation.ts';

/**
 * Evaluates one requirement against the evidence, with three possible answers. Pure. Every part is evaluated,
 * so that the reasons are complete.
 */
export function evaluateRequirement(
  requirement: Requirement,
  evidence: Evidence,
  context: EvaluationContext,
): Evaluation {
  switch (requirement.kind) {
    case 'all':
      return combine('all of', requirement.of, requirement.of.length, evidence, context);
    case 'any':
      return combine('any of', requirement.of, 1, evidence, context);
    case 'threshold':
      return threshold(requirement, evidence, context);
    case 'gpg':
      return evaluateGpg(requirement, evidence, context);
    case 'attestation':
      return evaluateAttestation(requirement, evidence, context);
    case 'notation':
      return evaluateNotation(requirement, evidence, context);
    case 'tuf':
      return evaluateTuf(requirement, evidence, context);
    case 'cosign-key':
    case 'sigstore':
    case 'pki':
      return evaluateSigstore(requirement, evidence, context);
  }
}

function combine(
  name: string,
  of: readonly Requirement[],
  needed: number,
  evidence: Evidence,
  context: EvaluationContext,
): Evaluation {
  const parts = of.map((part) => evaluateRequirement(part, evidence, context));
  const yes = parts.filter((part) => part.answer === 'yes').length;
  const possible = parts.filter((part) => part.answer !== 'no').length;
  // An empty list proves nothing. The policy's schema refuses an empty list; a policy that was made in
  // another way must not admit by one.
  const least = Math.max(1, needed);
  const answer: Answer = yes >= least ? 'yes' : possible >= least ? 'unknown' : 'no';
  const text = `${name} ${of.length} requirement${of.length === 1 ? '' : 's'}: ${yes} satisfied, ${needed} needed`;
  return combined(answer, text, parts);
}

/** Each part counts once and each signer counts once, whatever names a policy has for the signer. */
function threshold(
  { count, of }: Requirement & { kind: 'threshold' },
  evidence: Evidence,
  context: EvaluationContext,
): Evaluation {
  const parts = of.map((part) => evaluateRequirement(part, evidence, context));
  const satisfied = parts.filter((part) => part.answer === 'yes');
  const distinct = distinctSigners(oneNameEach(satisfied.map(({ signers = [] }) => signers)));
  const open = parts.filter((part) => part.answer === 'unknown').length;
  // A source that could not be reached may hold another signer's signature for a part when one signer
  // satisfies two parts.
  const possible = evidence.unreachable.length > 0 ? satisfied.length + open : distinct + open;
  const least = Math.max(1, count);
  const answer: Answer = distinct >= least ? 'yes' : possible >= least ? 'unknown' : 'no';
  const signers =
    distinct === satisfied.length ? '' : ` by ${distinct} distinct signer${distinct === 1 ? '' : 's'}`;
  const text = `${count} of ${of.length} requirement${of.length === 1 ? '' : 's'}: ${satisfied.length} satisfied${signers}, ${count} needed`;
  const result = combined(answer, text, parts);
  // The answer depends on which signers satisfy each part, not only on whether one does.
  const validUntil = earliest([result.validUntil, result.signersUntil]);
  return { ...result, ...(validUntil === undefined ? {} : { validUntil }) };
}

function combined(answer: Answer, text: string, parts: readonly Evaluation[]): Evaluation {
  const named = parts.flatMap((part) => (part.answer === 'yes' ? (part.signers ?? []) : []));
  const signers = [...new Map(named.map((names) => [JSON.stringify(names), names])).values()];
  const validUntil = earliest(parts.map((part) => part.validUntil));
  const signersUntil = earliest(parts.map((part) => part.signersUntil));
  return {
    answer,
    reason: {
      counted: answer === 'yes',
      text,
      code: codeOf(answer),
      children: parts.map((part) => part.reason),
    },
    ...(answer === 'yes' && isUnproven(parts) ? { unproven: true } : {}),
    ...(signers.length === 0 ? {} : { signers }),
    ...(signersUntil === undefined ? {} : { signersUntil }),
    ...(validUntil === undefined ? {} : { validUntil }),
  };
}
