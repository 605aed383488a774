import { createHash } from 'node:crypto';
import { describeCertificate, isIssuedBy, readCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { chainProblem, maximumChain } from './chain.ts';
import { childrenOf, contextTag, derTags, expectTag, oidOf, readDer, smallIntegerOf, timeOf } from './der.ts';
import type { Der } from './der.ts';
import { hashes, oids } from './names.ts';
import { readSignatureAlgorithm, verifyWith } from './signature-algorithm.ts';

/** A time stamp that was verified: the signature existed within these bounds, says the authority whose chain ends in a trusted root. */
export interface VerifiedTimestamp {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Milliseconds on either side of `time`. */
  readonly accuracy: number;
  readonly chain: readonly Certificate[];
}

/** The baseline time-stamp policy (RFC 3628 section 5.2), whose accuracy is a second unless told. */
const baselinePolicy = '0.4.0.2023.1.1';

/**
 * Verifies an RFC 3161 time stamp token over a signature: its CMS signature, the signing certificate's binding
 * (signing-certificate-v2, RFC 5816), the imprint, and the authority's chain to one of `roots`, valid at the stamped time
 * (trust-store-trust-policy.md, "Validate Authentic Timestamp").
 * @throws Error with a sentence that completes "its time stamp does not count: …"
 */
export function verifyTimestamp(token: Uint8Array, stamped: Uint8Array, roots: readonly Certificate[]): VerifiedTimestamp {
  const { info, infoBytes, signer, certificates } = readToken(token);
  const [leaf, signedAttributes] = findSigner(signer, certificates);
  if (!signedAttributes.digest.equals(createHash(signedAttributes.hash).update(infoBytes).digest()))
    throw new Error('its content was changed after it was signed');
  const imprint = createHash(info.hash).update(stamped).digest();
  if (!imprint.equals(info.imprint)) throw new Error('it stamps something else than this signature');
  const chain = chainTo(leaf, certificates, roots, info.time);
  const problem = chainProblem(chain, 'time stamping');
  if (problem !== undefined) throw new Error(problem);
  return { time: info.time, accuracy: info.accuracy, chain };
}

interface Token {
  readonly info: TimestampInfo;
  readonly infoBytes: Buffer;
  readonly signer: Der;
  readonly certificates: readonly Certificate[];
}

/** ContentInfo of SignedData (RFC 5652 sections 3 and 5.1) whose content is TSTInfo (RFC 3161 section 2.4.2). */
function readToken(token: Uint8Array): Token {
  const [type, wrapped] = childrenOf(readDer(token, derTags.sequence));
  if (oidOf(type) !== oids.signedData) throw new Error('it is not signed data');
  const signedData = childrenOf(expectTag(wrapped, contextTag(0, 'constructed')))[0];
  const parts = childrenOf(expectTag(signedData, derTags.sequence));
  const [innerType, content] = childrenOf(expectTag(parts[2], derTags.sequence));
  if (oidOf(innerType) !== oids.timeStampInfo) throw new Error('its content is not a time stamp');
  const octets = expectTag(childrenOf(expectTag(content, contextTag(0, 'constructed')))[0], derTags.octetString);
  const held = parts.find((part) => part.tag === contextTag(0, 'constructed'));
  const signers = childrenOf(expectTag(parts.at(-1), derTags.set));
  // RFC 3161 section 2.4.2: the token holds no other signature than the authority's.
  if (signers.length !== 1) throw new Error(`it has ${signers.length} signers, not one`);
  return {
    info: readInfo(octets.content),
    infoBytes: octets.content,
    signer: expectTag(signers[0], derTags.sequence),
    certificates: held === undefined ? [] : childrenOf(held, maximumChain).map((one) => readCertificate(one.raw)),
  };
}

interface TimestampInfo {
  readonly hash: 'sha256' | 'sha384' | 'sha512';
  readonly imprint: Buffer;
  readonly time: number;
  readonly accuracy: number;
}

function readInfo(bytes: Buffer): TimestampInfo {
  const [version, policy, imprint, , time, ...rest] = childrenOf(readDer(bytes, derTags.sequence));
  if (smallIntegerOf(version) !== 1) throw new Error('its version is not 1');
  const [algorithm, digest] = childrenOf(expectTag(imprint, derTags.sequence));
  const hash = hashes[oidOf(childrenOf(expectTag(algorithm, derTags.sequence))[0])];
  if (hash === undefined) throw new Error('its imprint is made with a digest that is not accepted');
  const accuracy = rest.find((part) => part.tag === derTags.sequence);
  const extensions = rest.find((part) => part.tag === contextTag(1, 'constructed'));
  const critical = (extensions === undefined ? [] : childrenOf(extensions)).some((one) => childrenOf(one)[1]?.tag === derTags.boolean);
  if (critical) throw new Error('it holds a critical extension that is not understood');
  return {
    hash,
    imprint: expectTag(digest, derTags.octetString).content,
    time: timeOf(expectTag(time, derTags.generalizedTime)),
    accuracy: accuracy === undefined ? (oidOf(policy) === baselinePolicy ? 1000 : 0) : readAccuracy(accuracy),
  };
}

/** Accuracy in milliseconds, rounded up. */
function readAccuracy(accuracy: Der): number {
  let milliseconds = 0;
  for (const part of childrenOf(accuracy)) {
    if (part.tag === derTags.integer) milliseconds += smallIntegerOf(part) * 1000;
    else if (part.tag === contextTag(0, 'primitive')) milliseconds += smallIntegerOf(part, part.tag);
    else milliseconds += Math.ceil(smallIntegerOf(part, contextTag(1, 'primitive')) / 1000);
  }
  return milliseconds;
}

interface SignedAttributes {
  readonly hash: 'sha256' | 'sha384' | 'sha512';
  readonly digest: Buffer;
}

/** SignerInfo (RFC 5652 section 5.3): the certificate it names by signing-certificate-v2 must be the one that fits. */
function findSigner(signer: Der, certificates: readonly Certificate[]): [Certificate, SignedAttributes] {
  const [, , digestAlgorithm, attributes, signatureAlgorithm, signature] = childrenOf(signer);
  const hash = hashes[oidOf(childrenOf(expectTag(digestAlgorithm, derTags.sequence))[0])];
  if (hash === undefined) throw new Error('it is signed over a digest that is not accepted');
  const signed = expectTag(attributes, contextTag(0, 'constructed'));
  const values = new Map<string, Der>();
  for (const attribute of childrenOf(signed)) {
    const [type, set] = childrenOf(expectTag(attribute, derTags.sequence));
    const name = oidOf(type);
    const [value, more] = childrenOf(expectTag(set, derTags.set));
    if (values.has(name) || value === undefined || more !== undefined)
      throw new Error(`its signed attribute ${name} is not there exactly once`);
    values.set(name, value);
  }
  if (oidOf(values.get(oids.contentType)) !== oids.timeStampInfo) throw new Error('its signed content type is not a time stamp');
  const digest = expectTag(values.get(oids.messageDigest), derTags.octetString).content;
  const leaf = certificates.find(named(values.get(oids.signingCertificateV2)));
  if (leaf === undefined) throw new Error('it does not hold the certificate that it says it is signed with');
  // Signed attributes are signed as a SET, while they stand in the message under [0] (RFC 5652 section 5.4).
  const over = Buffer.from(signed.raw);
  over[0] = derTags.set;
  const algorithm = readSignatureAlgorithm(expectTag(signatureAlgorithm, derTags.sequence), hash);
  if (!verifyWith(algorithm, leaf.key, over, expectTag(signature, derTags.octetString).content))
    throw new Error(`it is not signed by its certificate ${describeCertificate(leaf)}`);
  return [leaf, { hash, digest }];
}

/** SigningCertificateV2 (RFC 5035 section 3): the first entry is of the signing certificate; its digest is SHA-256 unless told. */
function named(attribute: Der | undefined): (certificate: Certificate) => boolean {
  if (attribute === undefined) throw new Error('it does not say which certificate it is signed with (signing-certificate-v2)');
  const entries = childrenOf(expectTag(childrenOf(expectTag(attribute, derTags.sequence))[0], derTags.sequence));
  const parts = childrenOf(expectTag(entries[0], derTags.sequence));
  const told = parts[0]?.tag === derTags.sequence ? oidOf(childrenOf(parts[0])[0]) : undefined;
  const hash = told === undefined ? 'sha256' : hashes[told];
  if (hash === undefined) throw new Error('it names its certificate by a digest that is not accepted');
  const digest = expectTag(parts[told === undefined ? 0 : 1], derTags.octetString).content;
  return (certificate) => createHash(hash).update(certificate.raw).digest().equals(digest);
}

/** From the signer up to a trusted root, over the token's certificates, all valid at that time. */
function chainTo(leaf: Certificate, held: readonly Certificate[], roots: readonly Certificate[], time: number): readonly Certificate[] {
  const valid = (certificate: Certificate): boolean => certificate.notBefore <= time && time <= certificate.notAfter;
  const chain = [leaf];
  for (let current = leaf; chain.length <= maximumChain;) {
    const root = roots.find((one) => one.raw.equals(current.raw));
    if (root !== undefined) break;
    const next = [...roots, ...held].find(
      (one) => !chain.some((seen) => seen.raw.equals(one.raw)) && valid(one) && isIssuedBy(current, one),
    );
    if (next === undefined)
      throw new Error(`the authority ${describeCertificate(leaf)} does not lead to a certificate of the trust stores of type tsa`);
    chain.push(next);
    current = next;
  }
  if (!chain.every(valid)) throw new Error(`a certificate of the authority ${describeCertificate(leaf)} was not valid at the stamped time`);
  return chain;
}
