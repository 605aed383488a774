import type { Credentials } from '../../../base/distribution/index.ts';
import type { ServiceAnswer } from './metadata-files.ts';
import type { TufRequirement } from './requirement.ts';

/** One reference under one requirement. */
export interface Asked {
  readonly requirement: TufRequirement;
  readonly reference: string;
  /** For the reference's registry, and for nobody else. */
  readonly credentials?: Credentials;
  /** Digests of large files that whoever asks has already: their bytes are not sent again. */
  readonly known: readonly string[];
  /** As `monotonicMs`: a refresh that began a little before serves it, however long it has waited for its turn. */
  readonly askedAt: number;
}

/** What the thread offers. */
export type TrustServicesCalls = { readonly ask: (asked: Asked) => Promise<ServiceAnswer> };
