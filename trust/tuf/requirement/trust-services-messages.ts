import type { ServiceAnswer } from './metadata-files.ts';
import type { TufRequirement } from './requirement.ts';

/** What the Worker is asked: one reference under one requirement. */
export interface Asked {
  readonly id: number;
  readonly requirement: TufRequirement;
  readonly reference: string;
}

export type Answered = { readonly id: number } & ({ readonly answer: ServiceAnswer } | { readonly error: string });
