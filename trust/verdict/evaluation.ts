import type { Dossier, Reason, RequestedEntitlements } from '../types.ts';

/** `unknown`: no, unless a source that could not be asked holds what is missing. */
export type Answer = 'yes' | 'no' | 'unknown';

export interface Evaluation {
  readonly answer: Answer;
  readonly reason: Reason;
  /** Who has satisfied it (`ProvenFacts.signer`), each once: thresholds count these. Absent: nobody is known, which counts for none. */
  readonly signers?: readonly string[];
  /** What publishers have signed that the image needs; it bounds the container whatever else admits it. */
  readonly requested?: readonly RequestedEntitlements[];
  /** A yes under which nobody's identity is proven, because the policy only logs that: the verdict says `unverified`. */
  readonly unproven?: boolean;
  /** ISO 8601: the answer may be another from then on. Absent: it stands as long as policy and evidence do. */
  readonly validUntil?: string;
}

/** What is evaluated against: the part of a dossier that evidence speaks about. */
export type Evidence = Pick<Dossier, 'reference' | 'digest' | 'manifestDigest' | 'items' | 'unreachable'>;

/** What else an evaluation may depend on. All of it is part of `decide`'s input, so that a verdict replays. */
export interface EvaluationContext {
  /** When the decision is made: certificates, ages and stated expiries are judged by it. */
  readonly now: Date;
  /** The normalised name that is decided about; it may be another than the one the evidence was gathered for. */
  readonly reference: string;
}

/** The earliest of some times, ISO 8601; undefined when there is none. */
export function earliest(times: readonly (string | undefined)[]): string | undefined {
  const known = times.filter((time): time is string => time !== undefined);
  return known.length === 0 ? undefined : known.reduce((a, b) => (Date.parse(b) < Date.parse(a) ? b : a));
}

/** Whether what is satisfied rests on nothing proven at all. */
export function isUnproven(parts: readonly Pick<Evaluation, 'answer' | 'unproven'>[]): boolean {
  const yes = parts.filter((part) => part.answer === 'yes');
  return yes.length > 0 && yes.every((part) => part.unproven === true);
}

export function codeOf(answer: Answer): string {
  return answer === 'yes' ? 'TRUST_REQUIREMENT_MET' : answer === 'no' ? 'TRUST_REQUIREMENT_UNMET' : 'TRUST_REQUIREMENT_UNDECIDED';
}
