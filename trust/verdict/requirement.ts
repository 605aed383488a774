import { describeKey } from '../keys/public-key.ts';
import type { Dossier, Reason, Requirement } from '../types.ts';
import { checkItem } from './check-item.ts';

/** `unknown`: no, unless a source that could not be asked holds what is missing. */
export type Answer = 'yes' | 'no' | 'unknown';

export interface Evaluation {
  readonly answer: Answer;
  readonly reason: Reason;
}

/** What is evaluated against: the part of a dossier that evidence speaks about. */
export type Evidence = Pick<Dossier, 'reference' | 'digest' | 'manifestDigest' | 'items' | 'unreachable'>;

/** What else an evaluation may depend on. All of it is part of `decide`'s input, so that a verdict replays. */
export interface EvaluationContext {
  /** When the decision is made: certificates, ages and stated expiries are judged by it. */
  readonly now: Date;
}

/** Evaluates one requirement over the evidence, in three values. Pure; every part is evaluated, so that the reasons are complete. */
export function evaluateRequirement(requirement: Requirement, evidence: Evidence, context: EvaluationContext): Evaluation {
  switch (requirement.kind) {
    case 'all':
      return combine('all of', requirement.of, requirement.of.length, evidence, context);
    case 'any':
      return combine('any of', requirement.of, 1, evidence, context);
    case 'threshold':
      return combine(`${requirement.count} of`, requirement.of, requirement.count, evidence, context);
    case 'cosign-key':
      return evaluateKey(requirement, evidence);
  }
}

function combine(name: string, of: readonly Requirement[], needed: number, evidence: Evidence, context: EvaluationContext): Evaluation {
  const parts = of.map((part) => evaluateRequirement(part, evidence, context));
  const yes = parts.filter((part) => part.answer === 'yes').length;
  const possible = parts.filter((part) => part.answer !== 'no').length;
  const answer: Answer = yes >= needed ? 'yes' : possible >= needed ? 'unknown' : 'no';
  const text = `${name} ${of.length} requirement${of.length === 1 ? '' : 's'}: ${yes} satisfied, ${needed} needed`;
  return { answer, reason: { counted: answer === 'yes', text, code: codeOf(answer), children: parts.map((part) => part.reason) } };
}

function evaluateKey(requirement: Requirement & { kind: 'cosign-key' }, evidence: Evidence): Evaluation {
  const { key } = requirement;
  const checked = evidence.items.map((item) => checkItem(item, key, evidence));
  const missing = evidence.unreachable.map(({ source, why }): Reason => ({
    counted: false,
    text: `${source} could not be asked: ${why}`,
    code: 'TRUST_SOURCE_UNREACHABLE',
  }));
  const found = checked.filter((reason) => reason.counted).length;
  const answer: Answer = found > 0 ? 'yes' : missing.length > 0 ? 'unknown' : 'no';
  const outcome =
    checked.length === 0
      ? 'no signature was found for this image'
      : `${found} of ${checked.length} signature${checked.length === 1 ? '' : 's'} found count${found === 1 ? 's' : ''}`;
  const text = `a cosign signature by the key ${describeKey(key)}: ${outcome}`;
  return { answer, reason: { counted: answer === 'yes', text, code: codeOf(answer), children: [...checked, ...missing] } };
}

function codeOf(answer: Answer): string {
  return answer === 'yes' ? 'TRUST_REQUIREMENT_MET' : answer === 'no' ? 'TRUST_REQUIREMENT_UNMET' : 'TRUST_REQUIREMENT_UNDECIDED';
}
