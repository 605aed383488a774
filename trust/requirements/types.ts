import type { Constraints } from './constraint-set.ts';
import type { GpgKey } from './gpg-key.ts';
import type { NotationRequirement } from './notation.ts';
import type { TufRequirement } from './tuf.ts';

/** A loaded, checked policy. `revision` is the digest of the policy and of every byte that it refers to. */
export interface TrustPolicy {
  readonly revision: string;
  readonly default: 'deny';
  readonly rules: readonly TrustRule[];
}

/** One rule: the images it applies to, where it applies, and what it requires. */
export interface TrustRule {
  /** Where the rule is written: `FILE:LINE`. */
  readonly name: string;
  readonly images: readonly string[];
  /** Patterns whose images the rule does not match. */
  readonly except?: readonly string[];
  /** Why the rule denies, whatever is proven. Such a rule has no requirement. */
  readonly deny?: string;
  readonly namespaces?: readonly string[];
  readonly require?: Requirement;
  readonly allowUnverified: boolean;
  readonly ceiling: CeilingDemand;
  /** `report`: an image that the rule would refuse is admitted and reported. */
  readonly mode?: 'report';
  /** Admits images that the rule would refuse, until it ends. */
  readonly breakGlass?: BreakGlass;
  /**
   * The namespaces of the rule's document. Such a rule matches only in these namespaces and only adds
   * requirements: alone it never admits.
   */
  readonly narrows?: readonly string[];
}

/** A ceiling that a matching rule sets. Every ceiling bounds the container. */
export interface CeilingDemand {
  readonly rule: string;
  /** Name of a profile, or a built-in ceiling: `privileged`, `baseline`, `restricted`. */
  readonly ceiling: string;
  /** `signed`: no container runs without a signed statement of the publisher. */
  readonly require?: 'signed';
  /**
   * `allow`: parts of a profile that this node cannot enforce exactly are allowed and reported. Absent: the
   * container is refused.
   */
  readonly onDegraded?: 'allow';
}

/** Who declared break-glass, why, and until when (ISO 8601). */
export interface BreakGlass {
  readonly until: string;
  readonly reason: string;
  readonly by: string;
}

/** The requirement of a rule: one proof, or several proofs combined by all, any or a threshold. */
export type Requirement =
  | { readonly kind: 'all' | 'any'; readonly of: readonly Requirement[] }
  | { readonly kind: 'threshold'; readonly count: number; readonly of: readonly Requirement[] }
  | {
      readonly kind: 'cosign-key';
      readonly key: PolicyKey;
      readonly log?: SigstoreProof;
      readonly constraints?: Constraints;
    }
  | {
      readonly kind: 'sigstore';
      readonly identity: SigstoreIdentity;
      readonly proof: SigstoreProof;
      readonly constraints?: Constraints;
    }
  | PkiRequirement
  | AttestationRequirement
  | NotationRequirement
  | GpgRequirement
  | TufRequirement;

/** A cosign signature with a certificate of your own authority, for exactly this subject. */
export interface PkiRequirement {
  readonly kind: 'pki';
  readonly roots: PolicyCertificates;
  readonly intermediates?: PolicyCertificates;
  /** At least one of the two is present. Each one that is present must match. */
  readonly email?: string;
  readonly hostname?: string;
  readonly constraints?: Constraints;
}

/** The certificates of a PEM file that a policy names. */
export interface PolicyCertificates {
  /** As written in the policy: a path relative to the policy file. */
  readonly name: string;
  /** DER, base64. */
  readonly certificates: readonly string[];
}

/** A GPG simple signature by one of these keys, found in a lookaside store. */
export interface GpgRequirement {
  readonly kind: 'gpg';
  readonly keys: readonly GpgKey[];
  /** The absolute paths of the files that the keys came from. */
  readonly keyFiles: readonly string[];
  /** URL of the store, without a trailing slash. */
  readonly lookaside: string;
  readonly constraints: Constraints;
}

/** A signed in-toto statement about the image that fulfils these conditions. */
export interface AttestationRequirement {
  readonly kind: 'attestation';
  /** URI, compared as an exact text. */
  readonly predicateType: string;
  /** The authority that must have signed the statement. */
  readonly by: Extract<Requirement, { readonly kind: 'cosign-key' | 'sigstore' | 'pki' }>;
  /** CEL expressions over the attestation. Each must be true. */
  readonly cel: readonly string[];
  readonly constraints?: Constraints;
  /** Maximum size of an attestation that is read, in bytes. Default: 16 MiB. */
  readonly maxSize?: number;
  /** The attestation is a verification summary, and these conditions apply to its predicate. */
  readonly summary?: SummaryDemand;
  /**
   * No rule requires the attestation. It is searched only where that costs no extra request: among the
   * referrers.
   */
  readonly optional?: true;
}

/** The required content of a verification summary (SLSA VSA). */
export interface SummaryDemand {
  /** URI of the verifier, compared as an exact text. */
  readonly verifier: string;
  /** Maximum time since the verification, in seconds. */
  readonly maxAge: number;
  /** sha256 of the policy that the verifier applied, hex. Absent: any policy. */
  readonly policy?: string;
  /** Pattern of the image that the summary is about. Absent: the repository of the image itself. */
  readonly resource?: string;
  /** Levels that must have been verified, all of them. */
  readonly levels?: readonly string[];
}

/** The identity whose keyless signatures are accepted. */
export interface SigstoreIdentity {
  /** The OIDC issuer, compared as an exact text. */
  readonly issuer: string;
  /**
   * Exact, or a pattern: `*` matches any characters except `/` (at the end: any characters), `**` any
   * characters.
   */
  readonly subject: string;
  /**
   * Further values that Fulcio must have written into the certificate, by their names, such as
   * `sourceRepositoryRef`. The patterns are those of the subject.
   */
  readonly claims?: Readonly<Record<string, string>>;
}

/** The confirmations of sigstore's services that a signature needs. */
export interface SigstoreProof {
  readonly root: PolicyRoot;
  /** Number of distinct transparency logs that must contain the signature. */
  readonly logs: number;
  /** Number of distinct time stamp authorities that must have stamped the signature. */
  readonly timeStamps: number;
  /**
   * Number of distinct certificate logs that must contain its certificate. Signatures by a key have no
   * certificate.
   */
  readonly certificateLogs: number;
}

/** A sigstore `trusted_root.json`, with every byte of it, so that decisions can be replayed. */
export interface PolicyRoot {
  /** As written in the policy: `public-good`, a path, or a TUF repository. */
  readonly name: string;
  /** sha256 of the bytes, hex. */
  readonly digest: string;
  /** Base64. */
  readonly content: string;
  /**
   * ISO 8601. For a TUF repository: until when the repository says that this root is the newest. For the root
   * that is included in this version: the expiry of the TUF root that it came with. From then on it proves
   * nothing.
   */
  readonly expires?: string;
  /** The root is included in this version: no update was fetched on this machine. */
  readonly ships?: true;
}

/** A public key, as a policy names it. */
export interface PolicyKey {
  /** As written in the policy: a path relative to the policy file. */
  readonly name: string;
  /** SPKI, DER, base64. */
  readonly spki: string;
  readonly type: 'ecdsa' | 'ed25519' | 'ml-dsa' | 'rsa';
}
