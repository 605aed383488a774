import { createHash, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { canonicalSpki } from '../keys/canonical-spki.ts';
import { policyKey } from '../keys/public-key.ts';
import { childrenOf, contextTag, derTag, DerError, expectTag, onlyChild } from './der.ts';
import type { DerElement } from './der.ts';
import { readStrict } from './der-strict.ts';
import {
  readBits,
  readInteger,
  readNamedBits,
  readOid,
  readSmallInteger,
  readTime,
  readTrueOrAbsent,
} from './der-values.ts';
import { extensionOid, readExtensions } from './extensions.ts';
import type { Extension } from './extensions.ts';
import { readName } from './name.ts';
import type { DistinguishedName } from './name.ts';
import { readPointUrls, readResponderUrls } from './revocation-urls.ts';
import { isSignatureBy, readSignatureAlgorithm } from './signature-algorithm.ts';
import type { SignatureAlgorithm } from './signature-algorithm.ts';
import { readSubjectNames } from './subject-names.ts';
import type { SubjectNames } from './subject-names.ts';

/** An X.509 certificate (RFC 5280 section 4.1), read strictly. Nothing in it is trusted. */
export interface Certificate {
  readonly raw: Buffer;
  /** Lower-case hex of the SHA-256 of `raw`. */
  readonly thumbprint: string;
  /** Versions 1 and 2 have no extensions: only a trusted root of these versions may issue. */
  readonly version: 1 | 2 | 3;
  /** The signed part. */
  readonly tbs: DerElement;
  /** Content octets of the serial number: at most 20, not negative, in their shortest form. */
  readonly serial: Buffer;
  /** DER of the names. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly subjectName: DistinguishedName;
  readonly subjectAltNames: SubjectNames;
  /** Milliseconds since 1970; both ends are inclusive. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly spki: Buffer;
  /** The bit string of the SubjectPublicKeyInfo, which OCSP hashes. */
  readonly keyBits: Buffer;
  readonly key: KeyObject;
  /**
   * Undefined for an algorithm that does not count, such as SHA-1. Such a certificate can only be a trusted
   * root.
   */
  readonly signatureAlgorithm: SignatureAlgorithm | undefined;
  readonly signature: Buffer;
  /** By OID. */
  readonly extensions: ReadonlyMap<string, Extension>;
  readonly isAuthority: boolean;
  readonly pathLength: number | undefined;
  /** Bits of {@link keyUsageBit}; undefined when the extension is absent. */
  readonly keyUsage: number | undefined;
  /** OIDs; undefined when the extension is absent. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** URIs (http and others) of OCSP responders and of revocation lists. */
  readonly ocspUrls: readonly string[];
  readonly crlUrls: readonly string[];
}

/** Bits of {@link Certificate.keyUsage} (RFC 5280 section 4.2.1.3). */
export const keyUsageBit = {
  digitalSignature: 1 << 0,
  contentCommitment: 1 << 1,
  keyCertSign: 1 << 5,
  crlSign: 1 << 6,
} as const;

/**
 * Extensions that this file or `path.ts` applies, so that they may be critical (RFC 5280 section 4.2). All
 * extensions are read, critical or not.
 */
const understood: ReadonlySet<string> = new Set([
  extensionOid.subjectKeyIdentifier,
  extensionOid.keyUsage,
  extensionOid.subjectAltName,
  extensionOid.basicConstraints,
  extensionOid.nameConstraints,
  extensionOid.authorityKeyIdentifier,
  extensionOid.extendedKeyUsage,
]);

const maximumCertificateBytes = 64 * 1024;

/**
 * Reads a DER certificate.
 * @throws DerError when the bytes are not one certificate in DER, a field violates RFC 5280, an extension
 * occurs twice, a critical extension is not understood, or the key cannot be used
 */
export function readCertificate(bytes: Uint8Array): Certificate {
  if (bytes.byteLength > maximumCertificateBytes)
    throw new DerError(`the certificate is larger than ${maximumCertificateBytes} bytes`, 0);
  const raw = Buffer.from(bytes);
  const [tbs, algorithm, signature, more] = childrenOf(
    expectTag(readStrict(raw), derTag.sequence, 'the certificate'),
  );
  if (more !== undefined) throw new DerError('a field follows the signature', more.offset);
  const fields = readFields(expectTag(tbs, derTag.sequence, 'tbsCertificate'));
  // RFC 5280 4.1.1.2: both must be equal, otherwise the unsigned one could mislead.
  if (algorithm === undefined || fields.algorithm?.whole.equals(algorithm.whole) !== true)
    throw new DerError('the two signature algorithms differ', algorithm?.offset ?? 0);
  const { version, extensions } = fields;
  const spki = expectTag(fields.spki, derTag.sequence, 'the public key');
  const subject = expectTag(fields.subject, derTag.sequence, 'the subject');
  const issuer = expectTag(fields.issuer, derTag.sequence, 'the issuer');
  readName(issuer);
  const access = extensions.get(extensionOid.authorityInformation);
  const points = extensions.get(extensionOid.crlDistributionPoints);
  return {
    raw,
    thumbprint: createHash('sha256').update(raw).digest('hex'),
    version,
    tbs: tbs as DerElement,
    serial: readSerial(fields.serial),
    issuer: issuer.whole,
    subject: subject.whole,
    subjectName: readName(subject),
    subjectAltNames: readSubjectNames(extensions.get(extensionOid.subjectAltName)),
    ...readValidity(fields.validity),
    spki: spki.whole,
    keyBits: readBits(childrenOf(spki)[1], 'the public key'),
    key: readKey(spki),
    signatureAlgorithm: readSignatureAlgorithm(algorithm),
    signature: readBits(signature, 'the signature'),
    extensions,
    ...readConstraints(extensions.get(extensionOid.basicConstraints)),
    keyUsage: readKeyUsage(extensions.get(extensionOid.keyUsage)),
    extendedKeyUsage: readExtendedKeyUsage(extensions.get(extensionOid.extendedKeyUsage)),
    ocspUrls: access === undefined ? [] : readResponderUrls(access.value),
    crlUrls: points === undefined ? [] : readPointUrls(points.value),
  };
}

interface Fields {
  readonly version: Certificate['version'];
  readonly serial: DerElement | undefined;
  readonly algorithm: DerElement | undefined;
  readonly issuer: DerElement | undefined;
  readonly validity: DerElement | undefined;
  readonly subject: DerElement | undefined;
  readonly spki: DerElement | undefined;
  readonly extensions: ReadonlyMap<string, Extension>;
}

/** Reads TBSCertificate: each field once, in order, and nothing else. */
function readFields(tbs: DerElement): Fields {
  const fields = childrenOf(tbs);
  const take = (tag: number): DerElement | undefined => (fields[0]?.tag === tag ? fields.shift() : undefined);
  const version = readVersion(take(contextTag(0, 'constructed')));
  const [serial, algorithm, issuer, validity, subject, spki] = fields.splice(0, 6);
  const issuerId = take(contextTag(1, 'primitive'));
  const subjectId = take(contextTag(2, 'primitive'));
  const extended = take(contextTag(3, 'constructed'));
  const [more] = fields;
  if (more !== undefined) throw new DerError('the certificate has an unknown field', more.offset);
  if (version === 1 && (issuerId ?? subjectId) !== undefined)
    throw new DerError('the certificate is of version 1 and has unique identifiers', tbs.offset);
  if (extended !== undefined && version < 3)
    throw new DerError(`the certificate is of version ${version} and has extensions`, extended.offset);
  const extensions =
    extended === undefined ? new Map<string, Extension>() : readExtensions(onlyChild(extended));
  for (const [oid, { critical, element, value }] of extensions) {
    if (understood.has(oid)) readStrict(value);
    else if (critical) throw new DerError(`the critical extension ${oid} is not understood`, element.offset);
  }
  return { version, serial, algorithm, issuer, validity, subject, spki, extensions };
}

/** Reads the version. Version 1 is the default, which DER omits. */
function readVersion(element: DerElement | undefined): Certificate['version'] {
  if (element === undefined) return 1;
  const version = readSmallInteger(onlyChild(element), 'the version') + 1;
  if (version !== 2 && version !== 3)
    throw new DerError(`the certificate names version ${version}`, element.offset);
  return version;
}

/**
 * Reads the serial number (RFC 5280 section 4.1.2.2): at most 20 octets, not negative. Some old roots have
 * zero.
 */
function readSerial(element: DerElement | undefined): Buffer {
  const serial = readInteger(element, 'the serial number');
  if ((serial[0] ?? 0) >= 0x80) throw new DerError('the serial number is negative', element?.offset ?? 0);
  if (serial.length > (serial[0] === 0 ? 21 : 20))
    throw new DerError('the serial number has more than 20 octets', element?.offset ?? 0);
  return serial;
}

function readValidity(element: DerElement | undefined): Pick<Certificate, 'notBefore' | 'notAfter'> {
  const [from, until, more] = childrenOf(expectTag(element, derTag.sequence, 'the validity'));
  if (more !== undefined) throw new DerError('the validity has more than two times', more.offset);
  return { notBefore: readTime(from, 'notBefore'), notAfter: readTime(until, 'notAfter') };
}

function readKey(spki: DerElement): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: spki.whole, format: 'der', type: 'spki' });
  } catch {
    throw new DerError('the public key cannot be read', spki.offset);
  }
  // The limits of keys in policies: verification with other keys is unsafe (short keys) or takes milliseconds
  // (long keys).
  const named = policyKey('certificate', key);
  if ('problem' in named) throw new DerError(`the public key cannot be used: ${named.problem},`, spki.offset);
  // This is the only accepted encoding of the key. Additional fields, explicit parameters of a curve and
  // other forms of a point are refused, as by Go's crypto/x509 (RFC 5480 section 2.1.1: a curve is named).
  const encoded =
    key.asymmetricKeyType === 'ec' ? canonicalSpki(key) : key.export({ format: 'der', type: 'spki' });
  if (!encoded.equals(spki.whole))
    throw new DerError('the public key is not in its canonical form', spki.offset);
  return key;
}

function readConstraints(extension: Extension | undefined): Pick<Certificate, 'isAuthority' | 'pathLength'> {
  if (extension === undefined) return { isAuthority: false, pathLength: undefined };
  const parts = childrenOf(expectTag(readStrict(extension.value), derTag.sequence, 'basicConstraints'));
  const isAuthority = readTrueOrAbsent(parts[0]?.tag === derTag.boolean ? parts.shift() : undefined, 'cA');
  const [length, more] = parts;
  if (more !== undefined) throw new DerError('basicConstraints are malformed', more.offset);
  // RFC 5280 4.2.1.9: the length is only meaningful for an authority.
  if (length !== undefined && !isAuthority)
    throw new DerError('pathLenConstraint is present without cA', length.offset);
  return {
    isAuthority,
    pathLength: length === undefined ? undefined : readSmallInteger(length, 'pathLenConstraint'),
  };
}

/** Reads the key usage (RFC 5280 section 4.2.1.3): at least one bit. */
function readKeyUsage(extension: Extension | undefined): number | undefined {
  if (extension === undefined) return undefined;
  const usage = readNamedBits(readStrict(extension.value), 'keyUsage');
  if (usage === 0) throw new DerError('keyUsage allows nothing', 0);
  return usage;
}

/** Reads the extended key usage (RFC 5280 section 4.2.1.12): at least one purpose. */
function readExtendedKeyUsage(extension: Extension | undefined): readonly string[] | undefined {
  if (extension === undefined) return undefined;
  const purposes = childrenOf(
    expectTag(readStrict(extension.value), derTag.sequence, 'extendedKeyUsage'),
    256,
  );
  if (purposes.length === 0) throw new DerError('extendedKeyUsage is empty', 0);
  return purposes.map((usage) => readOid(usage, 'a purpose of extendedKeyUsage'));
}

/**
 * Returns when a certificate is valid, in milliseconds since 1970, both ends inclusive; undefined when it
 * cannot be read.
 */
export function certificateValidity(
  bytes: Uint8Array,
): Pick<Certificate, 'notBefore' | 'notAfter'> | undefined {
  try {
    const { notBefore, notAfter } = readCertificate(bytes);
    return { notBefore, notAfter };
  } catch {
    return undefined;
  }
}

/** Returns whether `certificate` names `issuer` as its issuer and is signed by its key. Never throws. */
export function isSignedBy(
  { issuer, signatureAlgorithm, tbs, signature }: Certificate,
  by: Certificate,
): boolean {
  return issuer.equals(by.subject) && isSignatureBy(signatureAlgorithm, by.key, tbs.whole, signature);
}

/** Returns whether the certificate names itself as its issuer and is signed by its own key. */
export function isSelfSigned(certificate: Certificate): boolean {
  return isSignedBy(certificate, certificate);
}

/** Describes a certificate for reasons: `"CN=builder, O=example.com" (sha256:2cf24dba5fb0)`. */
export function describeCertificate({ subjectName, thumbprint }: Certificate): string {
  return `"${subjectName.text}" (sha256:${thumbprint.slice(0, 12)})`;
}
