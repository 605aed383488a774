import type { Dossier, Reason } from './types.ts';

/** The result of checking one item for one key. `says` completes the sentence "the signature …". */
export interface SignatureFinding {
  readonly counted: boolean;
  readonly code: string;
  readonly says: string;
  /**
   * The further facts that a valid signature proves. The policy's constraints (identity, annotations, age)
   * are checked against them.
   */
  readonly proven?: ProvenFacts;
  /**
   * The digests of the image that the signature names; `manifest` when there is no index. Set by
   * `judgeDigests`.
   */
  readonly names?: readonly ('index' | 'manifest')[];
  /**
   * Information needed for the decision could not be fetched, such as the revocation status: neither a no nor
   * a yes.
   */
  readonly undecided?: boolean;
  /** The signature counts although no identity is proven, because the policy only logs that. */
  readonly unproven?: boolean;
  /** Each step of the check, as reasons below this one. */
  readonly notes?: readonly Reason[];
  /** ISO 8601. The finding may change at this time. */
  readonly validUntil?: string;
}

/** Facts that a verified signature covers. Unsigned facts must not be here. */
export interface ProvenFacts {
  /**
   * The signer in canonical form, so that two names of one signer are equal: `key sha256:…`, `sigstore ISSUER
   * SUBJECT`, `x509 sha256:…`, `gpg FINGERPRINT`.
   */
  readonly signer: string;
  /**
   * Further names of the signer: the key of a certificate, and the name that its authority gives to the
   * signer. Signatures that share a name have one signer.
   */
  readonly also?: readonly string[];
  /** The image name that the payload claims, when its format has one (docker-reference of simple signing). */
  readonly claimedReference?: string;
  /** Signed annotations. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** The time of signing, ISO 8601, and what proves it. Absent when nothing proves it. */
  readonly signedAt?: {
    readonly time: string;
    readonly provenBy: 'transparency log' | 'time stamp' | 'signer';
  };
}

/** The digests that a signature for the image may name. */
export type Subject = Pick<Dossier, 'digest' | 'manifestDigest' | 'reference'>;

/** Returns the end of a result's validity, for the finding made from it. */
export function untilOf({
  validUntil,
}: {
  readonly validUntil?: string;
}): Pick<SignatureFinding, 'validUntil'> {
  return validUntil === undefined ? {} : { validUntil };
}

/** Returns a finding for evidence that cannot be read. */
export function malformed(why: string): SignatureFinding {
  return { counted: false, code: 'TRUST_SIGNATURE_MALFORMED', says: `it is malformed: ${why}` };
}

/** Judges the digests that a correctly signed payload names: one of the image's own must be among them. */
export function judgeDigests(named: readonly string[], subject: Subject, how: string): SignatureFinding {
  const what = namedPart(named, subject);
  if (what !== undefined)
    return {
      counted: true,
      code: 'TRUST_SIGNATURE_VALID',
      says: `${how} is valid and names ${what}`,
      names: namedParts(named, subject),
    };
  return {
    counted: false,
    code: 'TRUST_SIGNATURE_OTHER_DIGEST',
    says: `${how} is valid, but it is a signature of another digest: it names ${named.join(', ')}, and this image is ${imageDigests(subject)}`,
  };
}

/**
 * Describes what an unproven payload claims when it names another image. Only a hint beside a wrong
 * signature.
 */
export function otherClaim(named: readonly string[], subject: Subject): string {
  return named.length === 0 || namedPart(named, subject) !== undefined
    ? ''
    : `; the payload names another digest, ${named.join(', ')}`;
}

/**
 * Returns the annotations that were signed beside the image's own digest: the index's, unless it is not among
 * the subjects or the rule requires that the manifest is signed.
 */
export function annotationsBeside(
  subjects: readonly { readonly digest: string; readonly annotations: Readonly<Record<string, string>> }[],
  { digest, manifestDigest }: Subject,
  signs: 'index' | 'manifest' | undefined,
): Readonly<Record<string, string>> {
  const at = (own: string): Readonly<Record<string, string>> | undefined =>
    subjects.find((one) => one.digest === own)?.annotations;
  return (signs === 'manifest' ? undefined : at(digest)) ?? at(manifestDigest) ?? {};
}

function namedPart(named: readonly string[], subject: Subject): string | undefined {
  const isIndex = subject.digest !== subject.manifestDigest;
  if (named.includes(subject.digest))
    return isIndex ? `the image's index ${subject.digest}` : `the image's manifest ${subject.digest}`;
  if (named.includes(subject.manifestDigest)) return `the platform's manifest ${subject.manifestDigest}`;
  return undefined;
}

function namedParts(named: readonly string[], subject: Subject): readonly ('index' | 'manifest')[] {
  return [
    ...(subject.digest !== subject.manifestDigest && named.includes(subject.digest)
      ? (['index'] as const)
      : []),
    ...(named.includes(subject.manifestDigest) ? (['manifest'] as const) : []),
  ];
}

function imageDigests(subject: Subject): string {
  return subject.digest === subject.manifestDigest
    ? subject.digest
    : `${subject.digest} (index) and ${subject.manifestDigest} (platform's manifest)`;
}
