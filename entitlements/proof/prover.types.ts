import type { SerialisedError } from '../../base/errors/index.ts';
import type { Target } from '../compile/compile.ts';
import type { Profile } from '../profile/model.ts';
import type { Settings } from '../types.ts';

/** What the prover's Worker is asked: to compile a profile and prove the result, or to prove what another generator made of it. */
export interface ToProver {
  readonly profile: Profile;
  readonly target: Target;
  readonly settings?: Settings;
}

/** Its answers: once that it runs, then one a question, in order. */
export type FromProver = 'ready' | { readonly settings: Settings } | { readonly error: SerialisedError };
