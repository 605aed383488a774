import { createHash } from 'node:crypto';
import { readCertificate, verifyWith } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { childrenOf, derTag, DerError, expectTag, readDer, readInteger, readOid, readSmallInteger, readTime } from './der.ts';
import type { DerElement } from './der.ts';

/** A time stamp of RFC 3161, read but not verified. */
export interface TimeStamp {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly imprint: { readonly digest: string; readonly value: Buffer };
  /** Certificates that came with it. Not trusted. */
  readonly certificates: readonly Certificate[];
  /** Whether a certificate is the signer's, by issuer and serial number. */
  readonly isSigner: (certificate: Certificate) => boolean;
  /** Whether the certificate's key made the signature, over the content and the certificate's own identity. */
  readonly isSignedBy: (certificate: Certificate) => boolean;
}

/** Extended key usage of time stamp authorities (RFC 3161 section 2.3). */
export const timeStampingOid = '1.3.6.1.5.5.7.3.8';

const digests: Readonly<Record<string, string>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};

/** Signature algorithms by OID: their own digest, or `named` where the digest stands beside. */
const algorithms: Readonly<Record<string, string | null>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.2.840.113549.1.1.1': 'named',
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.3.101.112': null,
};

const maximumBytes = 256 * 1024;
const maximumCertificates = 16;

/**
 * Reads a TimeStampResp, or the TimeStampToken in it (RFC 3161 section 2.4.2).
 * @throws DerError with the place
 */
export function readTimeStamp(bytes: Uint8Array): TimeStamp {
  if (bytes.byteLength > maximumBytes) throw new DerError(`the time stamp is larger than ${maximumBytes} bytes`, 0);
  const outer = expectTag(readDer(Buffer.from(bytes)), derTag.sequence, 'the time stamp');
  const token = childrenOf(outer)[0]?.tag === derTag.oid ? outer : tokenOf(outer);
  const [contentType, wrapper] = members(token, 2, 'the token');
  if (readOid(contentType, 'the content type') !== '1.2.840.113549.1.7.2') throw new DerError('the token is not signed data', token.offset);
  const data = childrenOf(expectTag(inside(wrapper, 0xa0, 'the signed data'), derTag.sequence, 'the signed data'));
  const [version, algorithms, content, ...rest] = data;
  // RFC 5652 section 5.1: version 3 for content of another type than data; then certificates, revocation lists and signers, in this order.
  if (readSmallInteger(version, 'the version') !== 3) throw new DerError('the token is not of version 3', token.offset);
  const embedded = rest[0]?.tag === 0xa0 ? rest.shift() : undefined;
  if (rest[0]?.tag === 0xa1 && rest[0].content.length > 0) rest.shift();
  const [signerSet, more] = rest;
  if (more !== undefined) throw new DerError('something follows the signers', more.offset);
  const [type, wrapped] = members(content, 2, 'the content');
  if (readOid(type, 'the type of the content') !== '1.2.840.113549.1.9.16.1.4')
    throw new DerError('the content is not a TSTInfo', content?.offset ?? 0);
  const info = expectTag(inside(wrapped, 0xa0, 'the content'), derTag.octetString, 'the content').content;
  // RFC 3161 section 2.4.2: the token has the one signature of its authority.
  const [signer] = members(signerSet, 1, 'the set of signers', derTag.set);
  const named = childrenOf(expectTag(algorithms, derTag.set, 'the digests')).map((algorithm) => digestNamed(algorithm, 'a digest'));
  const certificates = embedded === undefined ? [] : readEmbedded(embedded);
  return { ...readInfo(info), certificates, ...readSigner(signer as DerElement, info, named) };
}

function tokenOf(response: DerElement): DerElement {
  const [status, token] = members(response, 2, 'the response');
  const granted = readSmallInteger(childrenOf(expectTag(status, derTag.sequence, 'the status'))[0], 'the status');
  // Granted, and not "with modifications": what was modified is not ours to guess.
  if (granted !== 0) throw new DerError(`the authority refused, with status ${granted},`, status?.offset ?? 0);
  return expectTag(token, derTag.sequence, 'the token');
}

/** The members of a sequence (or set) that has exactly so many: what nobody reads must not be there. */
function members(element: DerElement | undefined, count: number, what: string, tag: number = derTag.sequence): readonly DerElement[] {
  const list = childrenOf(expectTag(element, tag, what));
  if (list.length !== count) throw new DerError(`${what} has ${list.length} members, not ${count}`, element?.offset ?? 0);
  return list;
}

function inside(element: DerElement | undefined, tag: number, what: string): DerElement | undefined {
  return members(element, 1, what, tag)[0];
}

function readInfo(info: Buffer): Pick<TimeStamp, 'time' | 'imprint'> {
  const fields = childrenOf(expectTag(readDer(info), derTag.sequence, 'TSTInfo'));
  if (readSmallInteger(fields[0], 'the version') !== 1) throw new DerError('TSTInfo is not of version 1', 0);
  const [algorithm, value] = members(fields[2], 2, 'the imprint');
  const digest = digestNamed(algorithm, 'the digest of the imprint');
  return {
    time: readTime(fields[4], 'the time'),
    imprint: { digest, value: expectTag(value, derTag.octetString, 'the imprint').content },
  };
}

function digestNamed(algorithm: DerElement | undefined, what: string): string {
  const oid = algorithmOf(algorithm, what);
  const digest = digests[oid];
  if (digest === undefined) throw new DerError(`${what} is ${oid}, and SHA-256, SHA-384 and SHA-512 are accepted`, algorithm?.offset ?? 0);
  return digest;
}

/** The name of an algorithm that has no parameters, or NULL for them. */
function algorithmOf(algorithm: DerElement | undefined, what: string): string {
  const [name, parameters, more] = childrenOf(expectTag(algorithm, derTag.sequence, what));
  if (more !== undefined || (parameters !== undefined && !parameters.whole.equals(Buffer.of(derTag.null, 0))))
    throw new DerError(`${what} has parameters`, algorithm?.offset ?? 0);
  return readOid(name, what);
}

function readEmbedded(element: DerElement): Certificate[] {
  const list = childrenOf(element);
  if (list.length > maximumCertificates) throw new DerError(`more than ${maximumCertificates} certificates came with it`, element.offset);
  return list.filter(({ tag }) => tag === derTag.sequence).map(({ whole }) => readCertificate(whole));
}

/** SignerInfo (RFC 5652 section 5.3), with the attributes that RFC 3161 and RFC 5816 demand. */
function readSigner(signer: DerElement, info: Buffer, named: readonly string[]): Pick<TimeStamp, 'isSigner' | 'isSignedBy'> {
  const fields = childrenOf(expectTag(signer, derTag.sequence, 'the signer'));
  const [version, id, digestAlgorithm, attributes, signatureAlgorithm, signature, unsigned, more] = fields;
  if (more !== undefined || (unsigned !== undefined && unsigned.tag !== 0xa1)) throw new DerError('the signer is malformed', signer.offset);
  // RFC 5652 section 5.3: 1 for a signer named by issuer and serial number.
  if (readSmallInteger(version, 'the version of the signer') !== 1) throw new DerError('the signer is not of version 1', signer.offset);
  const [issuer, serial] = members(id, 2, 'the identity of the signer');
  const serialBytes = readInteger(serial, 'the serial number of the signer');
  const digest = digestNamed(digestAlgorithm, 'the digest of the signer');
  if (!named.includes(digest)) throw new DerError('the token does not name the digest of its signer', signer.offset);
  const signed = readAttributes(expectTag(attributes, 0xa0, 'the signed attributes'));
  if (readOid(signed.get('1.2.840.113549.1.9.3'), 'the signed type of the content') !== '1.2.840.113549.1.9.16.1.4')
    throw new DerError('the signed type of the content is not TSTInfo', signer.offset);
  const messageDigest = expectTag(signed.get('1.2.840.113549.1.9.4'), derTag.octetString, 'the signed digest').content;
  if (!createHash(digest).update(info).digest().equals(messageDigest))
    throw new DerError('the signed digest is of other content', signer.offset);
  const certificateDigest = readCertificateId(signed);
  const algorithm = algorithms[algorithmOf(signatureAlgorithm, 'the signature algorithm')];
  if (algorithm === undefined) throw new DerError('the signature algorithm is not accepted', signatureAlgorithm?.offset ?? 0);
  // RFC 5652 section 5.4: what is signed is the attributes as a SET, not with the tag they are carried under.
  const message = Buffer.concat([Buffer.of(derTag.set), (attributes as DerElement).whole.subarray(1)]);
  const bytes = expectTag(signature, derTag.octetString, 'the signature').content;
  return {
    isSigner: (certificate) => certificate.issuer.equals((issuer as DerElement).whole) && certificate.serial.equals(serialBytes),
    isSignedBy: (certificate) =>
      createHash(certificateDigest.digest).update(certificate.raw).digest().equals(certificateDigest.value) &&
      verifyWith(algorithm === 'named' ? digest : algorithm, message, certificate.key, bytes),
  };
}

function readAttributes(attributes: DerElement): ReadonlyMap<string, DerElement> {
  const found = new Map<string, DerElement>();
  for (const attribute of childrenOf(attributes)) {
    const [type, values] = members(attribute, 2, 'a signed attribute');
    const oid = readOid(type, 'the type of a signed attribute');
    const [value] = members(values, 1, 'the values of a signed attribute', derTag.set);
    if (value === undefined || found.has(oid)) throw new DerError(`the attribute ${oid} stands twice`, attribute.offset);
    found.set(oid, value);
  }
  return found;
}

/** ESSCertIDv2 (RFC 5816): which certificate signed, under the signature, so that another of the same key can not take its place. */
function readCertificateId(signed: ReadonlyMap<string, DerElement>): { readonly digest: string; readonly value: Buffer } {
  const second = signed.get('1.2.840.113549.1.9.16.2.47');
  const first = second ?? signed.get('1.2.840.113549.1.9.16.2.12');
  const what = 'the signed identity of the certificate';
  const list = childrenOf(expectTag(childrenOf(expectTag(first, derTag.sequence, what))[0], derTag.sequence, what));
  const parts = childrenOf(expectTag(list[0], derTag.sequence, what));
  if (second === undefined) return { digest: 'sha1', value: expectTag(parts[0], derTag.octetString, what).content };
  // The digest is SHA-256 unless another is named.
  const named = parts[0]?.tag === derTag.sequence ? digestNamed(parts.shift(), what) : 'sha256';
  return { digest: named, value: expectTag(parts[0], derTag.octetString, what).content };
}
