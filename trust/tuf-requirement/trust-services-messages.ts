import type { Credentials } from '../../base/distribution/index.ts';
import type { ServiceAnswer } from './metadata-files.ts';
import type { TufRequirement } from '../requirements/tuf.ts';

/** One reference under one requirement. */
export interface Asked {
  readonly requirement: TufRequirement;
  readonly reference: string;
  /** For the reference's registry only. */
  readonly credentials?: Credentials;
  /** Digests of large files that the caller already has: their bytes are not sent again. */
  readonly known: readonly string[];
  /**
   * As `monotonicMs`. A refresh that began shortly before this time serves the question, however long it has
   * waited for its turn.
   */
  readonly askedAt: number;
}

/** The calls that the thread offers. */
export type TrustServicesCalls = { readonly ask: (asked: Asked) => Promise<ServiceAnswer> };
