import type { CeilingDemand, TrustPolicy } from '../requirements/types.ts';

/** A platform in the terms of image indexes (image-spec, image-index.md): `linux`, `arm64`, `v8`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/**
 * Entitlements that the publisher has signed. The profile documents are opaque here: the entitlements module
 * reads them.
 */
export interface RequestedEntitlements {
  readonly profile: unknown;
  /** Digest of the attestation that contains the statement. */
  readonly attestation: string;
}

/**
 * One artifact found beside an image that may be evidence for it. The bytes are base64, bounded, and exactly
 * as served.
 */
export interface EvidenceItem {
  readonly kind:
    | 'sigstore-bundle'
    | 'cosign-simple-signing'
    | 'attestation'
    | 'gpg-simple-signing'
    | 'notation-signature'
    | 'ocsp-response'
    | 'crl'
    | 'tuf-metadata';
  /** The digest that the item is attached to (index or platform manifest). */
  readonly attachedTo: string;
  /** How it was found: `referrers`, `fallback-tag sha256-…`, `tag sha256-….sig`. */
  readonly foundBy: string;
  /** The registry host that served it. */
  readonly servedBy: string;
  /** Digest of the manifest that holds the item. */
  readonly manifestDigest: string;
  /** Digest of the payload or bundle blob according to its descriptor. */
  readonly blobDigest: string;
  readonly mediaType: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** The bytes of the blob; absent when they could not be fetched, which `problem` explains. */
  readonly bytes?: string;
  /** How `bytes` are compressed when they are large. The digest is that of the uncompressed bytes. */
  readonly packed?: 'zstd';
  /**
   * The bytes are large, or shared by many dossiers. They are stored once, under their digest, and are not
   * part of the dossier's id.
   */
  readonly apart?: true;
  /**
   * Base64 of the manifest that the item is attached to. Present only when the signature is over the manifest
   * itself (a message signature).
   */
  readonly subjectBytes?: string;
  /**
   * Why the item is unusable (wrong digest, too large, unreadable). Such an item never counts, and the reason
   * is shown.
   */
  readonly problem?: string;
}

/** All evidence about one image, bounded and stored durably. `decide` has no other input about the image. */
export interface Dossier {
  readonly version: 1;
  /** Normalised reference that was requested: `docker.io/library/busybox:1`. */
  readonly reference: string;
  /** Digest that the tag was resolved to, once: an index or a manifest. */
  readonly digest: string;
  /** The platform's manifest; equal to `digest` when there is no index. */
  readonly manifestDigest: string;
  readonly items: readonly EvidenceItem[];
  /**
   * Sources that could not be reached, or were read only in part. If there is one, a missing signature makes
   * the outcome `undecided`, not `deny`.
   */
  readonly unreachable: readonly UnreadSource[];
  readonly gatheredAt: string;
  /** sha256 of the canonical JSON of all fields above except `gatheredAt`. */
  readonly id: string;
}

/** A source of evidence that may have more evidence than was read. */
export interface UnreadSource {
  readonly source: string;
  readonly why: string;
  /** It was reached, and has more than is read of one image. */
  readonly inPart?: true;
}

/** One node of the explanation. `counted`: whether it counted towards admission. */
export interface Reason {
  readonly counted: boolean;
  /** One complete sentence. */
  readonly text: string;
  readonly code?: string;
  readonly children?: readonly Reason[];
}

/** A refusal that did not apply: the rule's `breakGlass` was in force, or the rule only reports. */
export interface PolicyException {
  readonly kind: 'break-glass' | 'report';
  /** `FILE:LINE` of the rule. */
  readonly rule: string;
  readonly wouldBe: 'deny' | 'undecided';
  /** For break-glass: when it ends (ISO 8601), the reason, and who declared it. */
  readonly until?: string;
  readonly reason?: string;
  readonly by?: string;
}

/** A decision with its reasons. The same input gives the same bytes. */
export interface Verdict {
  readonly outcome: 'admit' | 'deny' | 'undecided';
  readonly reference: string;
  /** The digest of the index, or of the single manifest. */
  readonly digest: string;
  readonly manifestDigest: string;
  readonly namespace: string;
  readonly platform: Platform;
  readonly policyRevision: string;
  readonly dossierId: string;
  readonly reasons: Reason;
  readonly ceilings: readonly CeilingDemand[];
  /**
   * The entitlements that the publisher has signed for the image. Each bounds the container. Absent: none
   * were signed.
   */
  readonly requestedEntitlements?: readonly RequestedEntitlements[];
  /** ISO 8601; checked at each use. Absent: valid while the policy and the dossier are unchanged. */
  readonly validUntil?: string;
  /**
   * True when a rule said `allow: unverified` and nothing was verified, and when an exception admitted an
   * image that a rule would have refused.
   */
  readonly unverified: boolean;
  /**
   * Why the image was admitted although a rule would have refused it; absent when there is no such exception.
   */
  readonly exceptions?: readonly PolicyException[];
  readonly decidedAt: string;
  /** sha256 of the canonical JSON of all fields above except `decidedAt`. */
  readonly id: string;
}

/** The complete input of a decision. */
export interface DecideInput {
  readonly dossier: Dossier;
  readonly reference: string;
  /** Empty when the namespace is unknown: rules with `namespaces` then do not match. */
  readonly namespace: string;
  readonly platform: Platform;
  readonly policy: TrustPolicy;
  readonly now: Date;
}
