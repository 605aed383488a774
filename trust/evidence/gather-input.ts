import type { RegistryRepository } from '../../base/distribution/index.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import type { EvaluationContext, Evidence } from '../findings/evaluation.ts';
import type { KnownAbsent } from './negative-cache.ts';
import type { SignedReference } from './signed-reference.ts';

/** Says whether evidence suffices. `../verdict` implements it in threads, for callers that must not block. */
export interface EvidenceJudge {
  /**
   * Whether the evidence satisfies every rule that matches the image, in whatever namespace.
   * @throws PortcullisError `TRUST_DECIDER_FAILED`
   */
  satisfied(policy: TrustPolicy, evidence: Evidence, context: EvaluationContext): Promise<boolean>;
}

/** The image to gather evidence for, the repositories to ask, and the policy. */
export interface GatherInput {
  /** Normalised reference. */
  readonly reference: string;
  readonly digest: string;
  readonly manifestDigest: string;
  /** Repositories to ask, in order: mirror, then origin. Each is bound to its credentials. */
  readonly repositories: readonly RegistryRepository[];
  readonly policy: TrustPolicy;
  readonly now: Date;
  /** The answers of trust services about the reference, when a rule requires one. */
  readonly signed?: SignedReference;
  /** Asks only these repositories. Sources elsewhere count as unreachable. */
  readonly offline?: true;
  /** The negative cache for these repositories, for a process that gathers often. */
  readonly negativeCache?: KnownAbsent;
  /** Judges the evidence without blocking, for callers that must not block. */
  readonly decider?: EvidenceJudge;
  readonly signal?: AbortSignal;
}
