import type { EvidenceItem } from '../findings/types.ts';

/** The answers of trust services about a reference at one time: evidence, and the digest to pull. */
export interface SignedReference {
  /**
   * The digest that is currently signed for the reference. Undefined when no digest is signed or known; the
   * registry's tag is then not trusted either.
   */
  readonly digest?: string;
  readonly items: readonly EvidenceItem[];
  /** One answer for each service that was asked. */
  readonly answers: readonly SignedAnswer[];
}

/** The answer of one service. */
export interface SignedAnswer {
  /** The repository, as in the annotation `repository` of the items. */
  readonly repository: string;
  readonly digest?: string;
  /** The service's metadata is available, from this request or an earlier one. */
  readonly known: boolean;
  /** The code why the answer was refused, or the service could not be reached. */
  readonly refused?: string;
}
