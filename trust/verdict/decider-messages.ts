import type { DecideInput, TrustPolicy, Verdict } from '../types.ts';
import type { EvaluationContext, Evidence } from './evaluation.ts';

/** What the deciding thread offers. A policy goes with the first question under it; without one, that of the question before counts. */
export type DeciderCalls = {
  readonly decide: (input: Omit<DecideInput, 'policy'>, policy: TrustPolicy | undefined) => Promise<Counted<Verdict>>;
  readonly satisfied: (evidence: Evidence, context: EvaluationContext, policy: TrustPolicy | undefined) => Promise<Counted<boolean>>;
};

/** `verifications`: bundles that it took. */
export interface Counted<T> {
  readonly answer: T;
  readonly verifications: number;
}
