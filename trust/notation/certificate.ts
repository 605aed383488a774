import { X509Certificate, createHash, createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { bitStringOf, childrenOf, contextTag, derTags, expectTag, oidOf, readDer, smallIntegerOf, timeOf } from './der.ts';
import type { Der } from './der.ts';
import { readName } from './distinguished-name.ts';
import type { NameAttribute } from './distinguished-name.ts';
import { oids } from './names.ts';
import { readSignatureAlgorithm, verifyWith } from './signature-algorithm.ts';

/** What the Notary Project's rules ask of a certificate (RFC 5280); of its extensions only these are evaluated. */
export interface Certificate {
  readonly raw: Buffer;
  /** Lower-case hex of the SHA-256 of `raw`. */
  readonly thumbprint: string;
  /** The serial number's content octets. */
  readonly serial: Buffer;
  readonly subject: readonly NameAttribute[];
  /** `CN=…, O=…` for people, with no control character. */
  readonly subjectText: string;
  readonly subjectRaw: Buffer;
  readonly issuerRaw: Buffer;
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly key: KeyObject;
  /** The SubjectPublicKeyInfo's bit string: what OCSP hashes. */
  readonly keyBits: Buffer;
  readonly basicConstraints?: { readonly critical: boolean; readonly ca: boolean; readonly pathLength?: number };
  /** Bits by number: 0 digitalSignature, 5 keyCertSign, 6 cRLSign. */
  readonly keyUsage?: { readonly critical: boolean; readonly bits: readonly number[] };
  readonly extendedKeyUsage?: { readonly critical: boolean; readonly purposes: readonly string[] };
  readonly ocspUrls: readonly string[];
  readonly crlUrls: readonly string[];
  readonly hasFreshestCrl: boolean;
  readonly signed: { readonly bytes: Buffer; readonly algorithm: Der; readonly signature: Buffer };
}

export const keyUsageBits = { digitalSignature: 0, keyCertSign: 5, crlSign: 6 } as const;

/** The largest certificate that is read: real ones have one to three kilobytes. */
const maximumBytes = 64 * 1024;

/**
 * Reads one X.509 certificate in DER.
 * @throws Error with a sentence that completes "the certificate can not be read: …"
 */
export function readCertificate(bytes: Uint8Array): Certificate {
  if (bytes.byteLength > maximumBytes) throw new Error(`it is larger than ${maximumBytes} bytes`);
  const raw = Buffer.from(bytes);
  const [body, algorithm, signature] = childrenOf(readDer(raw, derTags.sequence));
  const tbs = expectTag(body, derTags.sequence);
  const fields = childrenOf(tbs);
  const versioned = fields[0]?.tag === contextTag(0, 'constructed') ? fields.slice(1) : fields;
  const [serial, innerAlgorithm, issuer, validity, subject, keyInfo, ...rest] = versioned;
  const signedWith = expectTag(algorithm, derTags.sequence);
  if (!expectTag(innerAlgorithm, derTags.sequence).raw.equals(signedWith.raw)) throw new Error('it names two signature algorithms');
  const [notBefore, notAfter] = childrenOf(expectTag(validity, derTags.sequence));
  const name = readName(expectTag(subject, derTags.sequence));
  const extensions = readExtensions(rest.find((part) => part.tag === contextTag(3, 'constructed')));
  const keyBits = bitStringOf(childrenOf(expectTag(keyInfo, derTags.sequence))[1]);
  // OpenSSL reads it, too: what the two would see differently is refused by one of them.
  const opened = openBoth(raw, expectTag(keyInfo, derTags.sequence).raw);
  return {
    raw,
    thumbprint: createHash('sha256').update(raw).digest('hex'),
    serial: expectTag(serial, derTags.integer).content,
    subject: name.attributes,
    subjectText: name.text,
    subjectRaw: expectTag(subject, derTags.sequence).raw,
    issuerRaw: expectTag(issuer, derTags.sequence).raw,
    notBefore: timeOf(notBefore),
    notAfter: timeOf(notAfter),
    key: opened,
    keyBits,
    ...extensionFacts(extensions),
    signed: { bytes: tbs.raw, algorithm: signedWith, signature: bitStringOf(signature) },
  };
}

/** Whether `subject` is signed by `issuer`'s key and names it; a SHA-1 or older signature counts as none. Never throws. */
export function isIssuedBy(subject: Certificate, issuer: Certificate): boolean {
  if (!subject.issuerRaw.equals(issuer.subjectRaw)) return false;
  try {
    return verifyWith(readSignatureAlgorithm(subject.signed.algorithm), issuer.key, subject.signed.bytes, subject.signed.signature);
  } catch {
    return false;
  }
}

export function isSelfSigned(certificate: Certificate): boolean {
  return isIssuedBy(certificate, certificate);
}

/** `CN=builder (sha256:2cf24dba5fb0)`, for reasons. */
export function describeCertificate(certificate: Certificate): string {
  return `"${certificate.subjectText}" (sha256:${certificate.thumbprint.slice(0, 12)})`;
}

function openBoth(raw: Buffer, keyInfo: Buffer): KeyObject {
  try {
    const opened = new X509Certificate(raw);
    const key = createPublicKey({ key: keyInfo, format: 'der', type: 'spki' });
    if (!opened.raw.equals(raw) || !opened.publicKey.equals(key)) throw new Error('two readers differ');
    return key;
  } catch {
    throw new Error('it is not a usable X.509 certificate');
  }
}

interface Extension {
  readonly critical: boolean;
  readonly value: Der;
}

/** Extensions ::= SEQUENCE OF { extnID, critical DEFAULT FALSE, extnValue }; one of each at most (RFC 5280 section 4.2). */
export function readExtensions(tagged: Der | undefined): ReadonlyMap<string, Extension> {
  const found = new Map<string, Extension>();
  if (tagged === undefined) return found;
  for (const extension of childrenOf(expectTag(childrenOf(tagged)[0], derTags.sequence))) {
    const parts = childrenOf(expectTag(extension, derTags.sequence));
    const oid = oidOf(parts[0]);
    if (found.has(oid)) throw new Error(`it holds the extension ${oid} twice`);
    const critical = parts[1]?.tag === derTags.boolean && parts[1].content[0] !== 0;
    found.set(oid, { critical, value: expectTag(parts.at(-1), derTags.octetString) });
  }
  return found;
}

function extensionFacts(
  extensions: ReadonlyMap<string, Extension>,
): Pick<Certificate, 'basicConstraints' | 'keyUsage' | 'extendedKeyUsage' | 'ocspUrls' | 'crlUrls' | 'hasFreshestCrl'> {
  const basic = extensions.get(oids.basicConstraints);
  const usage = extensions.get(oids.keyUsage);
  const extended = extensions.get(oids.extendedKeyUsage);
  const access = extensions.get(oids.authorityInformation);
  const points = extensions.get(oids.crlDistributionPoints);
  return {
    ...(basic === undefined ? {} : { basicConstraints: { critical: basic.critical, ...readBasicConstraints(basic.value.content) } }),
    ...(usage === undefined ? {} : { keyUsage: { critical: usage.critical, bits: readBits(usage.value.content) } }),
    ...(extended === undefined
      ? {}
      : { extendedKeyUsage: { critical: extended.critical, purposes: readPurposes(extended.value.content) } }),
    ocspUrls: access === undefined ? [] : readOcspUrls(access.value.content),
    crlUrls: points === undefined ? [] : readPointUrls(points.value.content),
    hasFreshestCrl: extensions.has(oids.freshestCrl),
  };
}

function readBasicConstraints(value: Buffer): { ca: boolean; pathLength?: number } {
  const parts = childrenOf(readDer(value, derTags.sequence));
  const ca = parts[0]?.tag === derTags.boolean && parts[0].content[0] !== 0;
  const length = parts.find((part) => part.tag === derTags.integer);
  return { ca, ...(length === undefined ? {} : { pathLength: smallIntegerOf(length) }) };
}

function readBits(value: Buffer): number[] {
  const { content } = readDer(value, derTags.bitString);
  const bits: number[] = [];
  for (let bit = 0; bit < (content.length - 1) * 8; bit += 1) {
    if (((content[1 + (bit >> 3)] ?? 0) & (0x80 >> (bit & 7))) !== 0) bits.push(bit);
  }
  return bits;
}

function readPurposes(value: Buffer): string[] {
  return childrenOf(readDer(value, derTags.sequence)).map(oidOf);
}

/** Of AuthorityInfoAccess the OCSP responders named by URI (RFC 5280 section 4.2.2.1). */
function readOcspUrls(value: Buffer): string[] {
  return childrenOf(readDer(value, derTags.sequence)).flatMap((description) => {
    const [method, location] = childrenOf(expectTag(description, derTags.sequence));
    return oidOf(method) === oids.ocspMethod && location?.tag === uriTag ? [location.content.toString('latin1')] : [];
  });
}

const uriTag = contextTag(6, 'primitive');

/** The URIs of CRLDistributionPoints and FreshestCRL (RFC 5280 section 4.2.1.13). */
export function readPointUrls(value: Buffer): string[] {
  return childrenOf(readDer(value, derTags.sequence)).flatMap((point) => {
    const name = childrenOf(expectTag(point, derTags.sequence)).find((part) => part.tag === contextTag(0, 'constructed'));
    const full = name === undefined ? undefined : childrenOf(name).find((part) => part.tag === contextTag(0, 'constructed'));
    return (full === undefined ? [] : childrenOf(full)).filter((one) => one.tag === uriTag).map((one) => one.content.toString('latin1'));
  });
}
