import type { SerialisedError } from '../../base/errors/index.ts';
import type { Target } from '../compile/target.ts';
import type { Profile } from '../profile/model.ts';
import type { Settings } from '../types.ts';

/**
 * A request to the prover's Worker: to compile a profile and prove the result, or to prove another
 * generator's result for it.
 */
export interface ToProve {
  readonly profile: Profile;
  readonly target: Target;
  readonly settings?: Settings;
}

/** A request for what all of several profiles grant. */
interface ToMeet {
  readonly meet: readonly Profile[];
}

export type ToProver = ToProve | ToMeet;

/** The data with which the Worker is started. */
export interface ProverData {
  /** The folder for proved settings; absent: none are kept. */
  readonly cacheFolder?: string;
}

/** The Worker's messages: first that it runs, then one answer per question, in order. */
export type FromProver =
  | 'ready'
  | { readonly settings: Settings }
  | { readonly profile: Profile }
  | { readonly error: SerialisedError };
