import { constants, createPublicKey, verify } from 'node:crypto';
import type { KeyObject, VerifyKeyObjectInput } from 'node:crypto';
import { policyKey } from '../keys/public-key.ts';
import {
  childrenOf,
  derTag,
  DerError,
  expectTag,
  readBits,
  readBoolean,
  readDer,
  readInteger,
  readOid,
  readSmallInteger,
  readTime,
} from './der.ts';
import type { DerElement } from './der.ts';

/** An X.509 certificate (RFC 5280), read strictly. */
export interface Certificate {
  readonly raw: Buffer;
  /** 1 and 2 have no extensions: as a trusted root they are of an authority all the same, and nowhere else. */
  readonly version: 1 | 2 | 3;
  /** The signed part. */
  readonly tbs: DerElement;
  /** Big-endian bytes of the serial number. */
  readonly serial: Buffer;
  /** DER of the names. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  /** Milliseconds since 1970; both ends are inside. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly spki: Buffer;
  readonly key: KeyObject;
  /** OID; of RSA-PSS `RSA-PSS sha256`, where its parameters are among those that count. */
  readonly signatureAlgorithm: string;
  readonly signature: Buffer;
  /** By OID; `value` is the content of extnValue. */
  readonly extensions: ReadonlyMap<string, CertificateExtension>;
  readonly isAuthority: boolean;
  readonly pathLength: number | undefined;
  /** Bits of keyUsage, first bit first; undefined when the extension is absent. */
  readonly keyUsage: number | undefined;
  /** OIDs; undefined when the extension is absent. */
  readonly extendedKeyUsage: readonly string[] | undefined;
}

export interface CertificateExtension {
  readonly critical: boolean;
  readonly value: Buffer;
  /** The whole Extension element, to take it out of the signed part (RFC 6962 section 3.2). */
  readonly element: DerElement;
}

export const extensionOid = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const;

/** Bits of {@link Certificate.keyUsage}. */
export const keyUsageBit = { digitalSignature: 0x80, keyCertSign: 0x04 } as const;

/** Extensions that this room understands, so that they may be critical (RFC 5280 4.2). */
const understood: ReadonlySet<string> = new Set(Object.values(extensionOid));

const maximumCertificateBytes = 64 * 1024;

/**
 * Reads a DER certificate.
 * @throws DerError when it is not one, or holds something critical that is not understood
 */
export function readCertificate(bytes: Uint8Array): Certificate {
  if (bytes.byteLength > maximumCertificateBytes) throw new DerError(`the certificate is larger than ${maximumCertificateBytes} bytes`, 0);
  const raw = Buffer.from(bytes);
  const [tbs, algorithm, signature, more] = childrenOf(expectTag(readDer(raw), derTag.sequence, 'the certificate'));
  if (more !== undefined) throw new DerError('something follows the signature', more.offset);
  const fields = childrenOf(expectTag(tbs, derTag.sequence, 'tbsCertificate'));
  const version = readVersion(fields[0]?.tag === 0xa0 ? fields.shift() : undefined);
  const [serial, innerAlgorithm, issuer, validity, subject, spki, ...rest] = fields;
  // RFC 5280 4.1.1.2: both must say the same, or the unsigned one could mislead.
  if (algorithm === undefined || innerAlgorithm === undefined || !algorithm.whole.equals(innerAlgorithm.whole))
    throw new DerError('the two signature algorithms differ', algorithm?.offset ?? 0);
  const [notBefore, notAfter] = childrenOf(expectTag(validity, derTag.sequence, 'the validity'));
  const extended = rest.find((field) => field.tag === 0xa3);
  if (extended !== undefined && version < 3)
    throw new DerError(`the certificate is of version ${version} and has extensions`, extended.offset);
  const extensions = readExtensions(extended);
  const key = readKey(expectTag(spki, derTag.sequence, 'the public key'));
  return {
    raw,
    version,
    tbs: tbs as DerElement,
    serial: readInteger(serial, 'the serial number'),
    issuer: expectTag(issuer, derTag.sequence, 'the issuer').whole,
    subject: expectTag(subject, derTag.sequence, 'the subject').whole,
    notBefore: readTime(notBefore, 'notBefore'),
    notAfter: readTime(notAfter, 'notAfter'),
    spki: (spki as DerElement).whole,
    key,
    signatureAlgorithm: readSignatureAlgorithm(expectTag(algorithm, derTag.sequence, 'the signature algorithm')),
    signature: readBits(signature, 'the signature'),
    extensions,
    ...readConstraints(extensions.get(extensionOid.basicConstraints)),
    keyUsage: readKeyUsage(extensions.get(extensionOid.keyUsage)),
    extendedKeyUsage: readExtendedKeyUsage(extensions.get(extensionOid.extendedKeyUsage)),
  };
}

function readVersion(element: DerElement | undefined): Certificate['version'] {
  if (element === undefined) return 1;
  const version = readSmallInteger(childrenOf(element)[0], 'the version') + 1;
  if (version !== 2 && version !== 3) throw new DerError(`the certificate is of version ${version}`, element.offset);
  return version;
}

function readKey(spki: DerElement): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: spki.whole, format: 'der', type: 'spki' });
  } catch {
    throw new DerError('the public key can not be read', spki.offset);
  }
  // Of others a verification is unsafe (short) or takes milliseconds (long): the limits of keys in policies.
  const named = policyKey('certificate', key);
  if ('problem' in named) throw new DerError(`the public key can not be used: ${named.problem},`, spki.offset);
  return key;
}

function readExtensions(field: DerElement | undefined): ReadonlyMap<string, CertificateExtension> {
  const extensions = new Map<string, CertificateExtension>();
  if (field === undefined) return extensions;
  for (const element of childrenOf(expectTag(childrenOf(field)[0], derTag.sequence, 'the extensions'))) {
    const parts = childrenOf(expectTag(element, derTag.sequence, 'an extension'));
    const oid = readOid(parts[0], "an extension's name");
    const critical = parts.length === 3 ? readBoolean(parts[1] as DerElement) : false;
    const value = expectTag(parts[parts.length - 1], derTag.octetString, "an extension's value").content;
    if (parts.length < 2 || parts.length > 3) throw new DerError('an extension is malformed', element.offset);
    // RFC 5280 4.2: at most one of a kind.
    if (extensions.has(oid)) throw new DerError(`the extension ${oid} stands twice`, element.offset);
    if (critical && !understood.has(oid)) throw new DerError(`the critical extension ${oid} is not understood`, element.offset);
    extensions.set(oid, { critical, value, element });
  }
  return extensions;
}

function readConstraints(extension: CertificateExtension | undefined): Pick<Certificate, 'isAuthority' | 'pathLength'> {
  if (extension === undefined) return { isAuthority: false, pathLength: undefined };
  const parts = childrenOf(expectTag(readDer(extension.value), derTag.sequence, 'basicConstraints'));
  const flag = parts[0]?.tag === derTag.boolean ? parts.shift() : undefined;
  return {
    isAuthority: flag === undefined ? false : readBoolean(flag),
    pathLength: parts[0] === undefined ? undefined : readSmallInteger(parts[0], 'pathLenConstraint'),
  };
}

function readKeyUsage(extension: CertificateExtension | undefined): number | undefined {
  if (extension === undefined) return undefined;
  const { content, offset } = expectTag(readDer(extension.value), derTag.bitString, 'keyUsage');
  if (content.length < 2 || (content[0] ?? 8) > 7) throw new DerError('keyUsage is malformed', offset);
  return content[1];
}

function readExtendedKeyUsage(extension: CertificateExtension | undefined): readonly string[] | undefined {
  if (extension === undefined) return undefined;
  return childrenOf(expectTag(readDer(extension.value), derTag.sequence, 'extendedKeyUsage')).map((usage) => readOid(usage));
}

const rsaPss = '1.2.840.113549.1.1.10';
const maskByHash = '1.2.840.113549.1.1.8';
const pssDigests: Readonly<Record<string, readonly [digest: string, bytes: number]>> = {
  '2.16.840.1.101.3.4.2.1': ['sha256', 32],
  '2.16.840.1.101.3.4.2.2': ['sha384', 48],
  '2.16.840.1.101.3.4.2.3': ['sha512', 64],
};

function readSignatureAlgorithm(element: DerElement): string {
  const [name, parameters] = childrenOf(element);
  const oid = readOid(name);
  if (oid !== rsaPss || parameters === undefined) return oid;
  const digest = pssDigest(parameters);
  return digest === undefined ? oid : `RSA-PSS ${digest}`;
}

/** The digest, where it is also the mask's and as long as the salt (RFC 4055 section 3.1; so Go's crypto/x509 takes it): the rest is not counted. */
function pssDigest(parameters: DerElement): string | undefined {
  const fields = new Map(
    childrenOf(expectTag(parameters, derTag.sequence, 'the parameters')).map((field) => [field.tag, childrenOf(field)[0]]),
  );
  const [hashField, maskField, saltField] = [0xa0, 0xa1, 0xa2].map((tag) => fields.get(tag));
  // What is absent stands for SHA-1 and its length.
  if (hashField === undefined || maskField === undefined || saltField === undefined) return undefined;
  const hash = plainOid(hashField);
  const [maskName, maskHash] = childrenOf(expectTag(maskField, derTag.sequence, 'the mask'));
  const salt = readSmallInteger(saltField, 'the length of the salt');
  const trailer = fields.get(0xa3);
  const [digest, bytes] = pssDigests[hash ?? ''] ?? [];
  const plain = readOid(maskName) === maskByHash && plainOid(maskHash) === hash && salt === bytes;
  return plain && (trailer === undefined || readSmallInteger(trailer, 'the trailer') === 1) ? digest : undefined;
}

/** Of an algorithm without parameters of its own. */
function plainOid(algorithm: DerElement | undefined): string | undefined {
  const [name, none] = childrenOf(expectTag(algorithm, derTag.sequence, 'an algorithm'));
  return none === undefined || (none.tag === derTag.null && none.content.length === 0) ? readOid(name) : undefined;
}

/** Digests by signature algorithm; ed25519 has none of its own. SHA-1 is not accepted for certificates. */
const digestsOf: Readonly<Record<string, string | null>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.3.101.112': null,
  'RSA-PSS sha256': 'sha256',
  'RSA-PSS sha384': 'sha384',
  'RSA-PSS sha512': 'sha512',
};

/** Whether `issuer`'s key made the signature of `certificate`, and is named as its issuer. Never throws. */
export function isSignedBy(certificate: Certificate, issuer: Certificate): boolean {
  const digest = digestsOf[certificate.signatureAlgorithm];
  if (digest === undefined || !certificate.issuer.equals(issuer.subject)) return false;
  if (!certificate.signatureAlgorithm.startsWith('RSA-PSS '))
    return verifyWith(digest, certificate.tbs.whole, issuer.key, certificate.signature);
  if (issuer.key.asymmetricKeyType !== 'rsa') return false;
  const pss = { key: issuer.key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  return verifyWith(digest, certificate.tbs.whole, pss, certificate.signature);
}

/** node:crypto's verify, in which a key that does not fit the algorithm is a no. */
export function verifyWith(
  digest: string | null,
  message: Uint8Array,
  key: KeyObject | VerifyKeyObjectInput,
  signature: Uint8Array,
): boolean {
  try {
    return verify(digest, message, key, signature);
  } catch {
    return false;
  }
}
