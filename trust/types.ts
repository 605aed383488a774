import type { Constraints } from './policy/constraint-set.ts';
import type { GpgKey } from './gpg/key-ring.ts';
import type { NotationRequirement } from './notation/requirement.ts';
import type { TufRequirement } from './tuf/requirement/requirement.ts';

/** A statement of the publisher, of signed entitlements. Profile documents are opaque here: the entitlements room reads them. */
export interface RequestedEntitlements {
  readonly profile: unknown;
  /** Digest of the attestation that carried it. */
  readonly attestation: string;
}

/** A platform in the words of image indexes (image-spec, image-index.md): `linux`, `arm64`, `v8`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/** One artifact found beside an image that may speak for it. Bytes are base64, bounded, and kept exactly as served. */
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
  /** The digest the item was attached to (index or platform manifest). */
  readonly attachedTo: string;
  /** Where it was found: `referrers`, `fallback-tag sha256-…`, `tag sha256-….sig`. */
  readonly foundBy: string;
  /** The registry host that served it. */
  readonly servedBy: string;
  /** Digest of the manifest that holds the item. */
  readonly manifestDigest: string;
  /** Digest of the payload or bundle blob, as its descriptor says. */
  readonly blobDigest: string;
  readonly mediaType: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** The blob's bytes; absent when it could not be had, with `problem`. */
  readonly bytes?: string;
  /** How `bytes` are packed, where they are many; unpacked they have the digest. */
  readonly packed?: 'zstd';
  /** These bytes are many, or shared by many dossiers: they are stored once, by their digest, and are no part of a dossier's id. */
  readonly apart?: true;
  /** Base64 of the manifest that the item is attached to; only where the signature is over the manifest itself (a message signature). */
  readonly subjectBytes?: string;
  /** Why the item can not count (wrong digest, too large, unreadable); such an item never counts and its reason is shown. */
  readonly problem?: string;
}

/** All bounded evidence about one image, stored durably. `decide` sees the world only through it. */
export interface Dossier {
  readonly version: 1;
  /** Normalised reference that was asked for: `docker.io/library/busybox:1`. */
  readonly reference: string;
  /** Digest that the tag resolved to, once: an index or a manifest. */
  readonly digest: string;
  /** The platform's manifest; equal to `digest` when there was no index. */
  readonly manifestDigest: string;
  readonly items: readonly EvidenceItem[];
  /** Sources that could not be asked; with one of them a missing signature is `undecided`, not `deny`. */
  readonly unreachable: readonly { readonly source: string; readonly why: string }[];
  readonly gatheredAt: string;
  /** sha256 of the canonical JSON of all the above except `gatheredAt`. */
  readonly id: string;
}

/** One node of the explanation. `counted` is whether it spoke for admission. */
export interface Reason {
  readonly counted: boolean;
  /** One sentence, complete by itself. */
  readonly text: string;
  readonly code?: string;
  readonly children?: readonly Reason[];
}

/** A ceiling that a matching rule sets; every one of them bounds the container. */
export interface CeilingDemand {
  readonly rule: string;
  /** Name of a profile, or a built-in ceiling: `privileged`, `baseline`, `restricted`. */
  readonly ceiling: string;
  /** `signed`: without a publisher's signed statement nothing runs. */
  readonly require?: 'signed';
  /** `allow`: what of a profile this node can not enforce exactly is let through, and said. Absent: the container is refused. */
  readonly onDegraded?: 'allow';
}

/** A decision with its reasons; the same input gives the same bytes. */
export interface Verdict {
  readonly outcome: 'admit' | 'deny' | 'undecided';
  readonly reference: string;
  /** The index (or single manifest) digest. */
  readonly digest: string;
  readonly manifestDigest: string;
  readonly namespace: string;
  readonly platform: Platform;
  readonly policyRevision: string;
  readonly dossierId: string;
  readonly reasons: Reason;
  readonly ceilings: readonly CeilingDemand[];
  /** What the publisher has signed that the image needs; every one bounds the container. Absent: nothing was signed. */
  readonly requestedEntitlements?: readonly RequestedEntitlements[];
  /** ISO 8601; checked at each use. Absent: as long as policy and dossier stand. */
  readonly validUntil?: string;
  /** True when a rule said `allow: unverified` and nothing was verified, and when an exception admitted what a rule would have refused. */
  readonly unverified: boolean;
  /** What was admitted although a rule would have refused it; absent when there is none. */
  readonly exceptions?: readonly PolicyException[];
  readonly decidedAt: string;
  /** sha256 of the canonical JSON of all the above except `decidedAt`. */
  readonly id: string;
}

/** A refusal that did not hold: a rule's `breakGlass` was in force, or the rule only reports. */
export interface PolicyException {
  readonly kind: 'break-glass' | 'report';
  /** `FILE:LINE` of the rule. */
  readonly rule: string;
  readonly wouldBe: 'deny' | 'undecided';
  /** Of break-glass: when it ends (ISO 8601), why and by whom it was broken. */
  readonly until?: string;
  readonly reason?: string;
  readonly by?: string;
}

/** Everything that a decision depends on. */
export interface DecideInput {
  readonly dossier: Dossier;
  readonly reference: string;
  /** Empty when none is known: rules with `namespaces` then do not match. */
  readonly namespace: string;
  readonly platform: Platform;
  readonly policy: TrustPolicy;
  readonly now: Date;
}

/** A loaded, checked policy. `revision` is the digest of the policy and of every byte it refers to. */
export interface TrustPolicy {
  readonly revision: string;
  readonly default: 'deny';
  readonly rules: readonly TrustRule[];
}

/** One rule: the images it is about, where, and what it demands of them. */
export interface TrustRule {
  /** `FILE:LINE`, where the rule stands. */
  readonly name: string;
  readonly images: readonly string[];
  /** Patterns whose images the rule does not match. */
  readonly except?: readonly string[];
  /** Why the rule denies, whatever is proven; such a rule has no requirement. */
  readonly deny?: string;
  readonly namespaces?: readonly string[];
  readonly require?: Requirement;
  readonly allowUnverified: boolean;
  readonly ceiling: CeilingDemand;
  /** `report`: what the rule would refuse is admitted and told. */
  readonly mode?: 'report';
  /** Admits what the rule would refuse, until it ends. */
  readonly breakGlass?: BreakGlass;
  /** The namespaces of the rule's document. Such a rule matches only there, and adds demands: it never admits by itself. */
  readonly narrows?: readonly string[];
}

/** Who broke the glass, why, and until when (ISO 8601). */
export interface BreakGlass {
  readonly until: string;
  readonly reason: string;
  readonly by: string;
}

/** What a rule demands: one proof, or several joined by all, any or a threshold. */
export type Requirement =
  | { readonly kind: 'all' | 'any'; readonly of: readonly Requirement[] }
  | { readonly kind: 'threshold'; readonly count: number; readonly of: readonly Requirement[] }
  | { readonly kind: 'cosign-key'; readonly key: PolicyKey; readonly log?: SigstoreProof; readonly constraints?: Constraints }
  | { readonly kind: 'sigstore'; readonly identity: SigstoreIdentity; readonly proof: SigstoreProof; readonly constraints?: Constraints }
  | PkiRequirement
  | AttestationRequirement
  | NotationRequirement
  | GpgRequirement
  | TufRequirement;

/** A signature of cosign by a certificate of an authority of one's own, of exactly this subject. */
export interface PkiRequirement {
  readonly kind: 'pki';
  readonly roots: PolicyCertificates;
  readonly intermediates?: PolicyCertificates;
  /** At least one of the two is there; both must fit. */
  readonly email?: string;
  readonly hostname?: string;
  readonly constraints?: Constraints;
}

/** The certificates of a PEM file, as a policy names it. */
export interface PolicyCertificates {
  /** As written in the policy: a path relative to the file. */
  readonly name: string;
  /** DER, base64. */
  readonly certificates: readonly string[];
}

/** A GPG simple signature by one of these keys, found in a lookaside store. */
export interface GpgRequirement {
  readonly kind: 'gpg';
  readonly keys: readonly GpgKey[];
  /** The files that the keys came from, absolute. */
  readonly keyFiles: readonly string[];
  /** URL of the store, without a slash at its end. */
  readonly lookaside: string;
  readonly constraints: Constraints;
}

/** A signed in-toto statement about the image that says what is asked of it. */
export interface AttestationRequirement {
  readonly kind: 'attestation';
  /** URI, compared as it is. */
  readonly predicateType: string;
  /** Whoever must have signed it. */
  readonly by: Extract<Requirement, { readonly kind: 'cosign-key' | 'sigstore' | 'pki' }>;
  /** Expressions of CEL over what is attested; every one must be true. */
  readonly cel: readonly string[];
  readonly constraints?: Constraints;
  /** The largest that is read, in bytes; 16 MiB unless told. */
  readonly maxSize?: number;
  /** Nothing demands it, and it is only sought where looking costs no request of its own: among the referrers. */
  readonly optional?: true;
}

/** Whose keyless signature is accepted. */
export interface SigstoreIdentity {
  /** The OIDC issuer, exactly. */
  readonly issuer: string;
  /** Exact, or a pattern: `*` any characters but `/` (at the end: any), `**` any. */
  readonly subject: string;
  /** What else Fulcio must have written into the certificate, by its names, such as `sourceRepositoryRef`; patterns as for the subject. */
  readonly claims?: Readonly<Record<string, string>>;
}

/** What sigstore's services must have said of a signature. */
export interface SigstoreProof {
  readonly root: PolicyRoot;
  /** Distinct transparency logs that hold it. */
  readonly logs: number;
  /** Distinct time stamp authorities that have stamped it. */
  readonly timeStamps: number;
  /** Distinct certificate logs that hold its certificate; a key has none. */
  readonly certificateLogs: number;
}

/** A sigstore `trusted_root.json`, with every byte of it, so that decisions replay. */
export interface PolicyRoot {
  /** As written in the policy: `public-good`, a path, or a TUF repository. */
  readonly name: string;
  /** sha256 of the bytes, hex. */
  readonly digest: string;
  /** Base64. */
  readonly content: string;
  /**
   * ISO 8601. Of a TUF repository: until when it says that this is its newest. Of the root that ships: the end of the TUF root that it
   * came with. From then on nothing is proven by it.
   */
  readonly expires?: string;
  /** It came with this version: no update was fetched on this machine. */
  readonly ships?: true;
}

/** A public key, as a policy names it. */
export interface PolicyKey {
  /** As written in the policy: a path relative to the file. */
  readonly name: string;
  /** SPKI, DER, base64. */
  readonly spki: string;
  readonly type: 'ecdsa' | 'ed25519' | 'rsa';
}
