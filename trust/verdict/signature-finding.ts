import type { Dossier, PolicyKey } from '../types.ts';

/** What one reading of one item for one key came to; `says` completes the sentence "the signature …". */
export interface SignatureFinding {
  readonly counted: boolean;
  readonly code: string;
  readonly says: string;
}

/** The digests a signature may name to speak for the image. */
export type Subject = Pick<Dossier, 'digest' | 'manifestDigest' | 'reference'>;

/** A finding for evidence that can not be read. */
export function malformed(why: string): SignatureFinding {
  return { counted: false, code: 'TRUST_SIGNATURE_MALFORMED', says: `it is malformed: ${why}` };
}

/** Judges the digests that a well-signed payload names: one of the image's own must be among them. */
export function judgeDigests(named: readonly string[], subject: Subject, how: string): SignatureFinding {
  const what = namedPart(named, subject);
  if (what !== undefined) return { counted: true, code: 'TRUST_SIGNATURE_VALID', says: `${how} is right and names ${what}` };
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

function imageDigests(subject: Subject): string {
  return subject.digest === subject.manifestDigest
    ? subject.digest
    : `${subject.digest} (index) and ${subject.manifestDigest} (platform's manifest)`;
}

/** cosign v3 signs with Ed25519ph, which neither `cosign verify --key` nor this version verifies. */
export function ed25519Note(key: PolicyKey): string {
  return key.type === 'ed25519'
    ? ' (or it is an Ed25519ph signature, as cosign v3 makes: sign with "portcullis sign" or an ECDSA key)'
    : '';
}
