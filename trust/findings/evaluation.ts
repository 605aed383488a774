import type { Dossier, Reason, RequestedEntitlements } from './types.ts';

/** `unknown` counts as no. It means that a source that could not be reached may hold the missing evidence. */
export type Answer = 'yes' | 'no' | 'unknown';

/** All names of one signer. */
export type SignerNames = readonly string[];

export interface Evaluation {
  readonly answer: Answer;
  readonly reason: Reason;
  /**
   * The signers that satisfied the requirement, each with all of its names (`ProvenFacts.signer` and `also`):
   * thresholds count these. Absent: no signer is known, which counts as none.
   */
  readonly signers?: readonly SignerNames[];
  /**
   * ISO 8601. At this time one of `signers` may stop to count, or another one may begin, although the answer
   * stays.
   */
  readonly signersUntil?: string;
  /**
   * The entitlements that publishers have signed for the image. They bound the container whatever else admits
   * it.
   */
  readonly requested?: readonly RequestedEntitlements[];
  /**
   * The answer is yes although no identity is proven, because the policy only logs that: the verdict says
   * `unverified`.
   */
  readonly unproven?: boolean;
  /**
   * ISO 8601. The answer may change at this time. Absent: it is valid while the policy and the evidence are
   * unchanged.
   */
  readonly validUntil?: string;
}

/** The part of a dossier that requirements are evaluated against. */
export type Evidence = Pick<Dossier, 'reference' | 'digest' | 'manifestDigest' | 'items' | 'unreachable'>;

/** The other inputs of an evaluation. All are part of `decide`'s input, so that a verdict can be replayed. */
export interface EvaluationContext {
  /** The time of the decision: certificates, ages and stated expiries are judged at this time. */
  readonly now: Date;
  /**
   * The normalised name that is decided about. It may differ from the name that the evidence was gathered
   * for.
   */
  readonly reference: string;
}

/** Returns the earliest of the given times, ISO 8601, or undefined when there is none. */
export function earliest(times: readonly (string | undefined)[]): string | undefined {
  const known = times.filter((time): time is string => time !== undefined);
  return known.length === 0 ? undefined : known.reduce((a, b) => (Date.parse(b) < Date.parse(a) ? b : a));
}

/** Whether a satisfied requirement relies on nothing proven at all. */
export function isUnproven(parts: readonly Pick<Evaluation, 'answer' | 'unproven'>[]): boolean {
  const yes = parts.filter((part) => part.answer === 'yes');
  return yes.length > 0 && yes.every((part) => part.unproven === true);
}

export function codeOf(answer: Answer): string {
  return answer === 'yes'
    ? 'TRUST_REQUIREMENT_MET'
    : answer === 'no'
      ? 'TRUST_REQUIREMENT_UNMET'
      : 'TRUST_REQUIREMENT_UNDECIDED';
}
