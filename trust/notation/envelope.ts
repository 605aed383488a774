import { constants, verify } from 'node:crypto';
import { countVerifications, createMemory } from '../keys/remembered.ts';
import { parseStrictJson, recordOf } from '../json/strict-json.ts';
import { readCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { chainProblem, maximumChain, signingHash } from './chain.ts';
import { openCose } from './envelope-cose.ts';
import { openJws } from './envelope-jws.ts';
import { coseMediaType, headers, jwsMediaType, payloadContentType, signingSchemes } from './media-types.ts';
import type { SigningScheme } from './media-types.ts';
import type { OpenedEnvelope } from './opened-envelope.ts';

/** The descriptor that is signed (signature-specification.md, "Payload"). */
export interface TargetArtifact {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations: Readonly<Record<string, string>>;
}

/** An envelope in valid form, whose signature matches its leaf certificate. The signer is not trusted yet. */
export interface Envelope {
  readonly algorithm: string;
  readonly chain: readonly Certificate[];
  readonly leaf: Certificate;
  readonly scheme: SigningScheme;
  /** Milliseconds since 1970; a claim of the signer, or of the signing authority under that scheme. */
  readonly signingTime: number;
  readonly expiry?: number;
  readonly signature: Buffer;
  readonly timestamp?: Buffer;
  readonly target: TargetArtifact;
}

/**
 * Opens a JWS or COSE envelope and checks its integrity: form, critical headers, content type, certificate
 * requirements, the algorithm of the key, and the signature itself (trust-store-trust-policy.md, "Validate
 * Integrity").
 * @throws Error with a sentence that completes "it is malformed: …", or {@link WrongSignature}
 */
export function openEnvelope(mediaType: string, bytes: Uint8Array): Envelope {
  return remembered([mediaType, bytes], () => {
    countVerifications();
    return open(mediaType, bytes);
  });
}

/**
 * Nothing in the result depends on the time, or on the caller. An envelope may have a megabyte, and what is
 * read from it keeps most of that.
 */
const remembered = createMemory<Envelope>(512, 16 * 1024 * 1024);

function open(mediaType: string, bytes: Uint8Array): Envelope {
  const opened = openAs(mediaType, bytes);
  if (opened.contentType !== payloadContentType)
    throw new Error(`its content type is not ${payloadContentType}`);
  const attributes = readAttributes(opened);
  if (opened.chain.length > maximumChain)
    throw new Error(`its certificate chain has more than ${maximumChain} certificates`);
  const chain = opened.chain.map((one, index) => {
    try {
      return readCertificate(one);
    } catch (error) {
      throw new Error(`certificate ${index + 1} of its chain cannot be read: ${(error as Error).message}`, {
        cause: error,
      });
    }
  });
  const [leaf] = chain;
  if (leaf === undefined) throw new Error('it contains no certificate chain');
  const expected = algorithmOf(leaf);
  if (expected === undefined)
    throw new Error('its signing key is not of a type that the Notary Project allows');
  if (opened.algorithm !== expected)
    throw new Error(`its algorithm is ${opened.algorithm}, but its signing key requires ${expected}`);
  // The signature first: nothing else in a forged envelope is worth reporting.
  if (!fits(leaf, opened)) throw new WrongSignature();
  const problem = chainProblem(chain, 'code signing');
  if (problem !== undefined) throw new Error(problem);
  return {
    algorithm: opened.algorithm,
    chain,
    leaf,
    ...attributes,
    signature: opened.signature,
    ...(opened.timestamp === undefined ? {} : { timestamp: opened.timestamp }),
    target: readTarget(opened.payload),
  };
}

/** The envelope is well-formed, but its signature is not by its leaf certificate. */
export class WrongSignature extends Error {
  constructor() {
    super('its signature does not match its content and its signing certificate: one of them was changed');
  }
}

/**
 * Returns the algorithm of a signing certificate, `ES256` … `PS512` (signature-specification.md, "Algorithm
 * Selection").
 */
export function algorithmOf(leaf: Pick<Certificate, 'key'>): string | undefined {
  const hash = signingHash(leaf);
  if (hash === undefined) return undefined;
  return `${leaf.key.asymmetricKeyType === 'rsa' ? 'PS' : 'ES'}${hash.slice(3)}`;
}

function openAs(mediaType: string, bytes: Uint8Array): OpenedEnvelope {
  if (mediaType === jwsMediaType) return openJws(bytes);
  if (mediaType === coseMediaType) return openCose(bytes);
  throw new Error(`its media type ${mediaType} is not that of an envelope`);
}

function fits(leaf: Certificate, { signed, signature }: OpenedEnvelope): boolean {
  const hash = signingHash(leaf);
  if (hash === undefined) return false;
  try {
    const { key } = leaf;
    return key.asymmetricKeyType === 'ec'
      ? verify(hash, signed, { key, dsaEncoding: 'ieee-p1363' }, signature)
      : verify(
          hash,
          signed,
          { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
          signature,
        );
  } catch {
    return false;
  }
}

function readAttributes({
  attributes,
  critical,
}: OpenedEnvelope): Pick<Envelope, 'scheme' | 'signingTime' | 'expiry'> {
  const scheme = signingSchemes.find((one) => one === attributes.get(headers.scheme));
  if (scheme === undefined) throw new Error(`its signing scheme is neither ${signingSchemes.join(' nor ')}`);
  const byAuthority = scheme === 'notary.x509.signingAuthority';
  const timeLabel = byAuthority ? headers.authenticSigningTime : headers.signingTime;
  const foreign = byAuthority ? headers.signingTime : headers.authenticSigningTime;
  if (attributes.has(foreign))
    throw new Error(`it has ${foreign}, which the scheme ${scheme} does not allow`);
  const signingTime = attributes.get(timeLabel);
  if (typeof signingTime !== 'number') throw new Error(`it has no ${timeLabel}`);
  const expiry = attributes.get(headers.expiry);
  if (expiry !== undefined && typeof expiry !== 'number') throw new Error('its expiry is not a time');
  if (expiry !== undefined && expiry <= signingTime) throw new Error('it expires before it was signed');
  const due = [
    headers.scheme,
    ...(byAuthority ? [timeLabel] : []),
    ...(expiry === undefined ? [] : [headers.expiry]),
  ];
  const unmarked = due.filter((label) => !critical.includes(label));
  if (unmarked.length > 0) throw new Error(`it does not mark ${unmarked.join(', ')} as critical`);
  // The signer demands checks that are not made here. notation refuses the header where it is not critical.
  if (attributes.has(headers.verificationPlugin) && !critical.includes(headers.verificationPlugin))
    throw new Error('it names a verification plugin, and does not mark that as critical');
  for (const label of critical) {
    if (!attributes.has(label))
      throw new Error(`it marks ${printable(label)} as critical, but does not contain it`);
    // A critical header that is not understood is refused. This also refuses signatures for verification
    // plugins.
    if (label !== timeLabel && !(due as readonly unknown[]).includes(label))
      throw new Error(`its critical header ${printable(label)} is not supported`);
  }
  return { scheme, signingTime, ...(expiry === undefined ? {} : { expiry }) };
}

function readTarget(payload: Buffer): TargetArtifact {
  const target = recordOf(recordOf(parseStrictJson(payload))?.['targetArtifact']);
  if (target === undefined) throw new Error('its payload has no targetArtifact');
  const { mediaType, digest, size } = target;
  if (
    typeof digest !== 'string' ||
    !/^sha(256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})$/.test(digest)
  )
    throw new Error('its payload names no digest');
  if (typeof mediaType !== 'string' || mediaType === '') throw new Error('its payload names no media type');
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw new Error('its payload names no size');
  const annotations =
    target['annotations'] === undefined || target['annotations'] === null
      ? {}
      : recordOf(target['annotations']);
  if (annotations === undefined || Object.values(annotations).some((value) => typeof value !== 'string'))
    throw new Error("its payload's annotations are not strings");
  return { mediaType, digest, size, annotations: annotations as Readonly<Record<string, string>> };
}

function printable(label: unknown): string {
  return typeof label === 'string'
    ? JSON.stringify(label.slice(0, 80))
    : `the label ${String(label).slice(0, 80)}`;
}
