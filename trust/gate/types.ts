import type { SerialisedError } from '../../base/errors/index.ts';
import type { Position } from '../../base/schema/index.ts';
import type { Verdict } from '../findings/types.ts';

/** An image that the gate is asked about, once for each namespace. */
export interface GateQuestion {
  /** As written: parsed and normalised by the gate. */
  readonly reference: string;
  /** Empty when the namespace is not known. */
  readonly namespace: string;
  /** Where the reference is written; empty for an argument of the command. */
  readonly places: readonly ImagePlace[];
}

/** A line of a list or of a manifest that names an image. */
export interface ImagePlace extends Position {
  /** Such as `Deployment shop/web, container app`. Absent in a plain list. */
  readonly object?: string;
}

/**
 * `waived`: the policy denies the image, and waivers let it pass the gate. `failed`: the question could not
 * be put, because the image does not exist, for example.
 */
export type GateDecision = 'admitted' | 'waived' | 'denied' | 'undecided' | 'failed';

/** A piece of evidence that a decision is based on. */
export interface UsedEvidence {
  readonly uri: string;
  /** `sha256:<hex>` of the bundle or envelope. */
  readonly digest: string;
}

/** The summary that was signed for an image, or why none was. */
export type ImageSummary =
  | {
      readonly status: 'signed';
      readonly subjects: readonly string[];
      readonly manifestDigest?: string;
      readonly file?: string;
    }
  | { readonly status: 'not-signed'; readonly why: string }
  | { readonly status: 'failed'; readonly error: SerialisedError };

/** A waiver that lets a denied image pass. */
export interface AppliedWaiver {
  readonly id: string;
  readonly owner: string;
  readonly reason: string;
  /** ISO 8601. */
  readonly expires: string;
  /** `FILE:LINE`. */
  readonly place: string;
  /** The codes of the refusals that it lets pass. */
  readonly codes: readonly string[];
}

/** The decision about one image, for one namespace and one platform. */
export interface GateImage {
  /** Normalised. */
  readonly reference: string;
  readonly namespace: string;
  /** `os/architecture[/variant]`; absent when the image could not be resolved. */
  readonly platform?: string;
  readonly digest?: string;
  readonly manifestDigest?: string;
  /** The index has entries that name no platform, so that it is not known which nodes run them. */
  readonly partial?: true;
  readonly decision: GateDecision;
  /** The code of the reason that decides: of a refusal, the one that says most. */
  readonly code: string;
  /** One sentence: the advice of a refusal, or why there is no verdict. Absent for admitted images. */
  readonly advice?: string;
  /** The rule that refuses, as `FILE:LINE`. */
  readonly rule?: string;
  readonly verdict?: Verdict;
  readonly error?: SerialisedError;
  /** The evidence that the decision read, without that of trust services. Absent without a verdict. */
  readonly evidence?: readonly UsedEvidence[];
  /** Levels that the decision verified, such as `SLSA_BUILD_LEVEL_3`. Absent unless the image is admitted. */
  readonly levels?: readonly string[];
  readonly summary?: ImageSummary;
  /** The waivers that let the image pass. Only with the decision `waived`. */
  readonly waivers?: readonly AppliedWaiver[];
  readonly places: readonly ImagePlace[];
}

/** The report of a waiver that did not apply. */
export interface WaiverNote {
  readonly id: string;
  readonly owner: string;
  readonly expires: string;
  readonly place: string;
}

/** A part of a manifest that may lead to images which the run does not decide about. */
export interface GateUnread {
  readonly place: ImagePlace;
  readonly why: string;
  readonly fix: string;
}

/** The answer of the gate about all images of a run. */
export interface GateResult {
  readonly policyRevision: string;
  /** ISO 8601. */
  readonly decidedAt: string;
  readonly counts: Readonly<Record<GateDecision, number>>;
  readonly waivers: {
    /** They have expired and did not apply. */
    readonly expired: readonly WaiverNote[];
    /** They are in force, and let no image of this run pass. */
    readonly unused: readonly WaiverNote[];
  };
  /** Absent when every part of the manifests was read. */
  readonly unread?: {
    /** The caller lets them pass. */
    readonly allowed: boolean;
    readonly parts: readonly GateUnread[];
  };
  readonly images: readonly GateImage[];
}
