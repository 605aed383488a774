import type { Credentials } from '../../../base/distribution/index.ts';
import type { ServiceAnswer } from './metadata-files.ts';
import type { TufRequirement } from './requirement.ts';

/** What the Worker is asked: one reference under one requirement. */
export interface Asked {
  readonly id: number;
  readonly requirement: TufRequirement;
  readonly reference: string;
  /** For the reference's registry, and for nobody else. */
  readonly credentials?: Credentials;
  /** Digests of large files that whoever asks has already: their bytes are not sent again. */
  readonly known: readonly string[];
}

export type Answered = { readonly id: number } & ({ readonly answer: ServiceAnswer } | { readonly error: string });
