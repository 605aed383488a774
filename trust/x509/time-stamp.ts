import { createHash } from 'node:crypto';
import { readCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { childrenOf, contextTag, derTag, DerError, expectTag } from './der.ts';
import type { DerElement } from './der.ts';
import { isAscending, readStrict } from './der-strict.ts';
import {
  readGeneralizedTime,
  readInteger,
  readOid,
  readSmallInteger,
  readTrueOrAbsent,
} from './der-values.ts';
import { readExtensions } from './extensions.ts';
import {
  isSignatureBy,
  readDigest,
  readPlainAlgorithm,
  readSignatureAlgorithm,
} from './signature-algorithm.ts';
import type { Digest } from './signature-algorithm.ts';
import { tokenOfResponse } from './time-stamp-request.ts';

/** A timestamp of RFC 3161, read but not verified. */
export interface TimeStamp {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Milliseconds on either side of `time`, rounded up; undefined when the token states none. */
  readonly accuracy: number | undefined;
  /** OID of the authority's policy. */
  readonly policy: string;
  readonly imprint: { readonly digest: Digest; readonly value: Buffer };
  /** Certificates in the token. Not trusted. */
  readonly certificates: readonly Certificate[];
  /**
   * The digest by which the signed attributes name the signing certificate: ESSCertIDv2 (RFC 5816), or SHA-1
   * of ESSCertID.
   */
  readonly certificateDigest: Digest | 'sha1';
  /** Returns whether a certificate is the signer's, by issuer and serial number. */
  readonly isSigner: (certificate: Certificate) => boolean;
  /**
   * Returns whether the certificate's key made the signature, over the content and the certificate's own
   * identity.
   */
  readonly isSignedBy: (certificate: Certificate) => boolean;
}

/** Extended key usage of timestamp authorities (RFC 3161 section 2.3). */
export const timeStampingOid = '1.3.6.1.5.5.7.3.8';

const signedDataType = '1.2.840.113549.1.7.2';
const infoType = '1.2.840.113549.1.9.16.1.4';
const contentTypeAttribute = '1.2.840.113549.1.9.3';
const messageDigestAttribute = '1.2.840.113549.1.9.4';
const certificateAttribute = '1.2.840.113549.1.9.16.2.12';
const certificateAttributeV2 = '1.2.840.113549.1.9.16.2.47';

const maximumBytes = 256 * 1024;
const maximumCertificates = 16;

/**
 * Reads a TimeStampResp, or the TimeStampToken in it (RFC 3161 section 2.4.2).
 * @throws DerError with the offset
 */
export function readTimeStamp(bytes: Uint8Array): TimeStamp {
  if (bytes.byteLength > maximumBytes)
    throw new DerError(`the time stamp is larger than ${maximumBytes} bytes`, 0);
  const outer = expectTag(readStrict(Buffer.from(bytes)), derTag.sequence, 'the time stamp');
  const token = childrenOf(outer)[0]?.tag === derTag.oid ? outer : tokenOfResponse(outer);
  const [contentType, wrapper] = members(token, 2, 'the token');
  if (readOid(contentType, 'the content type') !== signedDataType)
    throw new DerError('the token is not signed data', token.offset);
  const data = childrenOf(expectTag(inside(wrapper, 'the signed data'), derTag.sequence, 'the signed data'));
  const [version, algorithms, content, ...rest] = data;
  // RFC 5652 section 5.1: version 3 for content of a type other than data; then certificates, revocation
  // lists and signers, in this order.
  if (readSmallInteger(version, 'the version') !== 3)
    throw new DerError('the token is not of version 3', token.offset);
  const embedded = rest[0]?.tag === contextTag(0, 'constructed') ? rest.shift() : undefined;
  if (rest[0]?.tag === contextTag(1, 'constructed') && rest[0].content.length > 0) rest.shift();
  const [signerSet, more] = rest;
  if (more !== undefined) throw new DerError('a field follows the signers', more.offset);
  const [type, wrapped] = members(content, 2, 'the content');
  if (readOid(type, 'the type of the content') !== infoType)
    throw new DerError('the content is not a TSTInfo', content?.offset ?? 0);
  const info = expectTag(inside(wrapped, 'the content'), derTag.octetString, 'the content').content;
  // RFC 3161 section 2.4.2: the token has only the signature of its authority.
  const [signer] = members(signerSet, 1, 'the set of signers', derTag.set);
  const named = childrenOf(expectTag(algorithms, derTag.set, 'the digests')).map((algorithm) =>
    digestNamed(algorithm, 'a digest'),
  );
  const certificates = embedded === undefined ? [] : readEmbedded(embedded);
  return { ...readInfo(info), certificates, ...readSigner(signer as DerElement, info, named) };
}

/** Returns the members of a sequence (or set) that has exactly this many: unread members are not allowed. */
function members(
  element: DerElement | undefined,
  count: number,
  what: string,
  tag: number = derTag.sequence,
): readonly DerElement[] {
  const list = childrenOf(expectTag(element, tag, what));
  if (list.length !== count)
    throw new DerError(`${what} has ${list.length} members, not ${count}`, element?.offset ?? 0);
  return list;
}

function inside(element: DerElement | undefined, what: string): DerElement | undefined {
  return members(element, 1, what, contextTag(0, 'constructed'))[0];
}

/** Reads TSTInfo: each field once, in order, and nothing else. */
function readInfo(info: Buffer): Pick<TimeStamp, 'time' | 'imprint' | 'accuracy' | 'policy'> {
  const fields = childrenOf(expectTag(readStrict(info), derTag.sequence, 'TSTInfo'));
  const [version, policy, imprint, serial, time, ...rest] = fields;
  if (readSmallInteger(version, 'the version') !== 1) throw new DerError('TSTInfo is not of version 1', 0);
  readInteger(serial, 'the serial number of the time stamp');
  const [algorithm, value] = members(imprint, 2, 'the imprint');
  const take = (tag: number): DerElement | undefined => (rest[0]?.tag === tag ? rest.shift() : undefined);
  const accuracy = take(derTag.sequence);
  readTrueOrAbsent(take(derTag.boolean), 'the ordering');
  take(derTag.integer);
  take(contextTag(0, 'constructed'));
  const extended = take(contextTag(1, 'constructed'));
  const [more] = rest;
  if (more !== undefined) throw new DerError('TSTInfo has an unknown field', more.offset);
  // The extensions are implicitly tagged: their list is directly under the context tag.
  const extensions = extended === undefined ? [] : readExtensions({ ...extended, tag: derTag.sequence });
  for (const [oid, { critical }] of extensions)
    if (critical) throw new DerError(`the critical extension ${oid} is not understood`, 0);
  return {
    time: readGeneralizedTime(time, 'the time'),
    accuracy: accuracy === undefined ? undefined : readAccuracy(accuracy),
    policy: readOid(policy, 'the policy'),
    imprint: {
      digest: digestNamed(algorithm, 'the digest of the imprint'),
      value: expectTag(value, derTag.octetString, 'the imprint').content,
    },
  };
}

/**
 * Reads Accuracy (RFC 3161 section 2.4.2): seconds, [0] milliseconds and [1] microseconds from 1 to 999, in
 * this order.
 */
function readAccuracy(accuracy: DerElement): number {
  const parts = childrenOf(accuracy, 4);
  const take = (tag: number, most: number): number => {
    if (parts[0]?.tag !== tag) return 0;
    const value = readSmallInteger(parts.shift(), 'the accuracy', tag);
    if (value > most) throw new DerError('the accuracy is out of range', accuracy.offset);
    return value;
  };
  const seconds = take(derTag.integer, 0x7fff_ffff);
  const milliseconds = take(contextTag(0, 'primitive'), 999);
  const microseconds = take(contextTag(1, 'primitive'), 999);
  if (parts.length > 0) throw new DerError('the accuracy is malformed', accuracy.offset);
  return seconds * 1000 + milliseconds + Math.ceil(microseconds / 1000);
}

function digestNamed(algorithm: DerElement | undefined, what: string): Digest {
  const digest = readDigest(algorithm, what);
  if (digest !== undefined) return digest;
  const oid = readPlainAlgorithm(algorithm, what);
  throw new DerError(
    `${what} is ${oid}, and SHA-256, SHA-384 and SHA-512 are accepted`,
    algorithm?.offset ?? 0,
  );
}

function readEmbedded(element: DerElement): Certificate[] {
  return childrenOf(element, maximumCertificates)
    .filter(({ tag }) => tag === derTag.sequence)
    .map(({ whole }) => readCertificate(whole));
}

/** Reads SignerInfo (RFC 5652 section 5.3), with the attributes that RFC 3161 and RFC 5816 require. */
function readSigner(
  signer: DerElement,
  info: Buffer,
  named: readonly string[],
): Pick<TimeStamp, 'certificateDigest' | 'isSigner' | 'isSignedBy'> {
  const fields = childrenOf(expectTag(signer, derTag.sequence, 'the signer'));
  const [version, id, digestAlgorithm, attributes, signatureAlgorithm, signature, unsigned, more] = fields;
  if (more !== undefined || (unsigned !== undefined && unsigned.tag !== contextTag(1, 'constructed')))
    throw new DerError('the signer is malformed', signer.offset);
  // RFC 5652 section 5.3: 1 for a signer named by issuer and serial number.
  if (readSmallInteger(version, 'the version of the signer') !== 1)
    throw new DerError('the signer is not of version 1', signer.offset);
  const [issuer, serial] = members(id, 2, 'the identity of the signer');
  const serialBytes = readInteger(serial, 'the serial number of the signer');
  const digest = digestNamed(digestAlgorithm, 'the digest of the signer');
  if (!named.includes(digest))
    throw new DerError('the token does not name the digest of its signer', signer.offset);
  const signed = readAttributes(expectTag(attributes, contextTag(0, 'constructed'), 'the signed attributes'));
  if (readOid(signed.get(contentTypeAttribute), 'the signed type of the content') !== infoType)
    throw new DerError('the signed type of the content is not TSTInfo', signer.offset);
  const messageDigest = expectTag(
    signed.get(messageDigestAttribute),
    derTag.octetString,
    'the signed digest',
  ).content;
  if (!createHash(digest).update(info).digest().equals(messageDigest))
    throw new DerError('the signed digest is for other content', signer.offset);
  const certificateDigest = readCertificateId(signed);
  const algorithm = readSignatureAlgorithm(signatureAlgorithm, digest);
  if (algorithm === undefined)
    throw new DerError('the signature algorithm is not accepted', signatureAlgorithm?.offset ?? 0);
  // RFC 5652 section 5.4: the signature covers the attributes as a SET, not with the tag that carries them.
  const message = Buffer.concat([Buffer.of(derTag.set), (attributes as DerElement).whole.subarray(1)]);
  const bytes = expectTag(signature, derTag.octetString, 'the signature').content;
  return {
    certificateDigest: certificateDigest.digest,
    isSigner: (certificate) =>
      certificate.issuer.equals((issuer as DerElement).whole) && certificate.serial.equals(serialBytes),
    isSignedBy: (certificate) =>
      createHash(certificateDigest.digest).update(certificate.raw).digest().equals(certificateDigest.value) &&
      isSignatureBy(algorithm, certificate.key, message, bytes),
  };
}

/** Reads the signed attributes: a SET OF in DER (RFC 5652 section 5.3), each type once and with one value. */
function readAttributes(attributes: DerElement): ReadonlyMap<string, DerElement> {
  const found = new Map<string, DerElement>();
  const list = childrenOf(attributes);
  if (!isAscending(list))
    throw new DerError('the signed attributes are not in ascending order', attributes.offset);
  for (const attribute of list) {
    const [type, values] = members(attribute, 2, 'a signed attribute');
    const oid = readOid(type, 'the type of a signed attribute');
    const [value] = members(values, 1, 'the values of a signed attribute', derTag.set);
    if (value === undefined || found.has(oid))
      throw new DerError(`the attribute ${oid} occurs twice`, attribute.offset);
    found.set(oid, value);
  }
  return found;
}

/**
 * Reads ESSCertIDv2 (RFC 5816): the identity of the signing certificate, which is signed so that another
 * certificate of the same key cannot replace it.
 */
function readCertificateId(signed: ReadonlyMap<string, DerElement>): {
  readonly digest: Digest | 'sha1';
  readonly value: Buffer;
} {
  const second = signed.get(certificateAttributeV2);
  const first = second ?? signed.get(certificateAttribute);
  const what = 'the signed identity of the certificate';
  const list = childrenOf(
    expectTag(childrenOf(expectTag(first, derTag.sequence, what))[0], derTag.sequence, what),
  );
  const parts = childrenOf(expectTag(list[0], derTag.sequence, what));
  if (second === undefined)
    return { digest: 'sha1', value: expectTag(parts[0], derTag.octetString, what).content };
  // The digest is SHA-256 unless another is named. Naming SHA-256 states the default, which DER omits; some
  // authorities write it.
  const named = parts[0]?.tag === derTag.sequence ? digestNamed(parts.shift(), what) : 'sha256';
  return { digest: named, value: expectTag(parts[0], derTag.octetString, what).content };
}
