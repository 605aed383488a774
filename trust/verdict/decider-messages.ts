import type { DecideInput, TrustPolicy, Verdict } from '../types.ts';
import type { EvaluationContext, Evidence } from './evaluation.ts';

/** What the deciding Worker is asked; a policy goes with the first question under it. */
export interface Asked {
  readonly id: number;
  readonly policy?: TrustPolicy;
  readonly question:
    | { readonly kind: 'decide'; readonly input: Omit<DecideInput, 'policy'> }
    | { readonly kind: 'satisfied'; readonly evidence: Evidence; readonly context: EvaluationContext };
}

/** `verifications`: bundles that it took. */
export type Answered = { readonly id: number; readonly verifications: number } & (
  { readonly verdict: Verdict } | { readonly satisfied: boolean } | { readonly error: string }
);
