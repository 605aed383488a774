import type { SerialisedError } from '../../base/errors/index.ts';
import type { Target } from '../compile/target.ts';
import type { Profile } from '../profile/model.ts';
import type { Settings } from '../types.ts';

/** What the prover's Worker is asked: to compile a profile and prove the result, or to prove what another generator made of it. */
export interface ToProve {
  readonly profile: Profile;
  readonly target: Target;
  readonly settings?: Settings;
}

/** Or for what all of several profiles grant. */
interface ToMeet {
  readonly meet: readonly Profile[];
}

export type ToProver = ToProve | ToMeet;

/** How the Worker is started. */
export interface ProverData {
  /** Where proved settings are kept; absent: nowhere. */
  readonly cacheFolder?: string;
}

/** Its answers: once that it runs, then one a question, in order. */
export type FromProver = 'ready' | { readonly settings: Settings } | { readonly profile: Profile } | { readonly error: SerialisedError };
