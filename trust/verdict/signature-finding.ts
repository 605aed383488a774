import type { Dossier, Reason } from '../types.ts';

/** What one reading of one item for one key came to; `says` completes the sentence "the signature …". */
export interface SignatureFinding {
  readonly counted: boolean;
  readonly code: string;
  readonly says: string;
  /** What a signature that counts has proven besides; constraints of the policy (identity, annotations, age) are judged by it. */
  readonly proven?: ProvenFacts;
  /** Which of the image's digests the signature names; `manifest` where there is no index. Set by `judgeDigests`. */
  readonly names?: readonly ('index' | 'manifest')[];
  /** What would decide it could not be had, such as an answer about revocation: not a no, and not a yes. */
  readonly undecided?: boolean;
  /** It counts although nobody's identity is proven, because the policy only logs that. */
  readonly unproven?: boolean;
  /** Each step of the reading, as reasons below it. */
  readonly notes?: readonly Reason[];
  /** ISO 8601: from then on the finding may be another. */
  readonly validUntil?: string;
}

/** Facts that stand under a signature which was verified. Nothing unsigned belongs here. */
export interface ProvenFacts {
  /** Who signed, canonically, so that two names of one signer are one: `key sha256:…`, `sigstore ISSUER SUBJECT`, `x509 sha256:…`, `gpg FINGERPRINT`. */
  readonly signer: string;
  /** The name that the payload claims the image has, when its format has one (docker-reference of simple signing). */
  readonly claimedReference?: string;
  /** Signed annotations. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** When it was signed, ISO 8601, with what proves the time; absent when nothing proves it. */
  readonly signedAt?: { readonly time: string; readonly provenBy: 'transparency log' | 'time stamp' | 'signer' };
}

/** The digests a signature may name to speak for the image. */
export type Subject = Pick<Dossier, 'digest' | 'manifestDigest' | 'reference'>;

/** When a result ends, for the finding that it becomes. */
export function untilOf({ validUntil }: { readonly validUntil?: string }): Pick<SignatureFinding, 'validUntil'> {
  return validUntil === undefined ? {} : { validUntil };
}

/** A finding for evidence that can not be read. */
export function malformed(why: string): SignatureFinding {
  return { counted: false, code: 'TRUST_SIGNATURE_MALFORMED', says: `it is malformed: ${why}` };
}

/** Judges the digests that a well-signed payload names: one of the image's own must be among them. */
export function judgeDigests(named: readonly string[], subject: Subject, how: string): SignatureFinding {
  const what = namedPart(named, subject);
  if (what !== undefined)
    return { counted: true, code: 'TRUST_SIGNATURE_VALID', says: `${how} is right and names ${what}`, names: namedParts(named, subject) };
  return {
    counted: false,
    code: 'TRUST_SIGNATURE_OTHER_DIGEST',
    says: `${how} is right, but it is a signature of another digest: it names ${named.join(', ')}, and this image is ${imageDigests(subject)}`,
  };
}

/** What an unproven payload claims, when that is another image: said beside a wrong signature, as a hint only. */
export function otherClaim(named: readonly string[], subject: Subject): string {
  return named.length === 0 || namedPart(named, subject) !== undefined ? '' : `; the payload names another digest, ${named.join(', ')}`;
}

function namedPart(named: readonly string[], subject: Subject): string | undefined {
  const isIndex = subject.digest !== subject.manifestDigest;
  if (named.includes(subject.digest)) return isIndex ? `the image's index ${subject.digest}` : `the image's manifest ${subject.digest}`;
  if (named.includes(subject.manifestDigest)) return `the platform's manifest ${subject.manifestDigest}`;
  return undefined;
}

function namedParts(named: readonly string[], subject: Subject): readonly ('index' | 'manifest')[] {
  return [
    ...(subject.digest !== subject.manifestDigest && named.includes(subject.digest) ? (['index'] as const) : []),
    ...(named.includes(subject.manifestDigest) ? (['manifest'] as const) : []),
  ];
}

function imageDigests(subject: Subject): string {
  return subject.digest === subject.manifestDigest
    ? subject.digest
    : `${subject.digest} (index) and ${subject.manifestDigest} (platform's manifest)`;
}
