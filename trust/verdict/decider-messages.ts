import type { DecideInput, Verdict } from '../findings/types.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import type { EvaluationContext, Evidence } from '../findings/evaluation.ts';

/**
 * The calls that the deciding thread offers. A policy is sent with the first question that uses it. A
 * question without a policy uses the policy of the previous question.
 */
export type DeciderCalls = {
  readonly decide: (
    input: Omit<DecideInput, 'policy'>,
    policy: TrustPolicy | undefined,
  ) => Promise<Counted<Verdict>>;
  readonly satisfied: (
    evidence: Evidence,
    context: EvaluationContext,
    policy: TrustPolicy | undefined,
  ) => Promise<Counted<boolean>>;
};

/** `verifications`: the number of bundles that were verified for the result. */
export interface Counted<T> {
  readonly answer: T;
  readonly verifications: number;
}
