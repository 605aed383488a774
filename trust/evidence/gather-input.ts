import type { RegistryRepository } from '../../base/distribution/index.ts';
import type { SignedReference } from '../tuf/requirement/ask-services.ts';
import type { TrustPolicy } from '../types.ts';
import type { Decider } from '../verdict/decider.ts';
import type { KnownAbsent } from './absences.ts';

/** About which image evidence is sought, where, and for which policy. */
export interface GatherInput {
  /** Normalised reference. */
  readonly reference: string;
  readonly digest: string;
  readonly manifestDigest: string;
  /** Where to look, in order: mirror, then origin. Each is bound to its repository and credentials. */
  readonly repositories: readonly RegistryRepository[];
  readonly policy: TrustPolicy;
  readonly now: Date;
  /** What trust services have said of the reference, where a rule requires one. */
  readonly signed?: SignedReference;
  /** Nobody is asked but these repositories: what stands elsewhere counts as out of reach. */
  readonly offline?: true;
  /** What these repositories have said is not there, by whoever gathers often. */
  readonly absences?: KnownAbsent;
  /** Judges what has been found without blocking, for whoever may not block. */
  readonly decider?: Pick<Decider, 'satisfied'>;
  readonly signal?: AbortSignal;
}
