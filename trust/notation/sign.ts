import { Tagged, encode } from 'cborg';
import { PortcullisError, orThrow } from '../../base/errors/index.ts';
import type { Signer } from '../signers/signer.ts';
import type { SignatureScheme } from '../signers/signature-scheme.ts';
import { readCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { curveBytes, rawOfEcdsaSignature } from '../x509/ecdsa-signature.ts';
import { chainProblem } from './chain.ts';
import { coseAlgorithms, coseLabels, coseSign1Tag, epochTag, signatureStructure } from './envelope-cose.ts';
import { algorithmOf, openEnvelope } from './envelope.ts';
import type { TargetArtifact } from './envelope.ts';
import { coseMediaType, headers, jwsMediaType, payloadContentType } from './media-types.ts';
import { requestTimestamp } from '../signers/request-timestamp.ts';

export interface NotationSignatureInput {
  readonly format: 'jws' | 'cose';
  /** The signed artifact: the image's manifest or index. */
  readonly target: TargetArtifact;
  /**
   * Has a certificate chain, leaf to self-signed root. The first of its timestamp authorities stamps the
   * signature.
   */
  readonly signer: Signer;
  readonly now: Date;
  /** The signature is invalid from then on. */
  readonly expiry?: Date;
  readonly signal?: AbortSignal;
}

export interface NotationSignature {
  readonly mediaType: string;
  readonly envelope: Buffer;
  /** SHA-256 of each certificate of the chain, hex, leaf first. */
  readonly thumbprints: readonly string[];
}

/** The signing agent in the unsigned header, which the tools of the Notary Project also write. */
const signingAgent = 'portcullis';

/**
 * Creates a Notary Project signature (scheme notary.x509) that notation verifies. The chain must meet the
 * Notary Project's requirements now, because notation refuses other chains.
 * @throws PortcullisError `TRUST_CERTIFICATE_CHAIN`, `TRUST_TIMESTAMP_FAILED`, and the errors of the signer
 */
export async function makeNotationSignature(input: NotationSignatureInput): Promise<NotationSignature> {
  const { format, signer, target } = input;
  const chain = readChain(signer, input.now);
  const algorithm = algorithmOf(chain[0]) ?? '';
  const { annotations, mediaType, digest, size } = target;
  const descriptor = {
    mediaType,
    digest,
    size,
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
  const payload = Buffer.from(JSON.stringify({ targetArtifact: descriptor }));
  const make = format === 'jws' ? makeJws : makeCose;
  const envelope = await make({ input, algorithm, payload, chain: chain.map(({ raw }) => raw) });
  const type = format === 'jws' ? jwsMediaType : coseMediaType;
  // An envelope that this reader refuses must not be pushed.
  openEnvelope(type, envelope);
  return { mediaType: type, envelope, thumbprints: chain.map(({ thumbprint }) => thumbprint) };
}

interface Deps {
  readonly input: NotationSignatureInput;
  readonly algorithm: string;
  readonly payload: Buffer;
  readonly chain: readonly Buffer[];
}

async function makeJws({ input, algorithm, payload, chain }: Deps): Promise<Buffer> {
  const { now, expiry } = input;
  const header = {
    alg: algorithm,
    crit: [headers.scheme, ...(expiry === undefined ? [] : [headers.expiry])],
    cty: payloadContentType,
    [headers.scheme]: 'notary.x509',
    [headers.signingTime]: wholeSeconds(now),
    ...(expiry === undefined ? {} : { [headers.expiry]: wholeSeconds(expiry) }),
  };
  const encoded = {
    payload: payload.toString('base64url'),
    protected: Buffer.from(JSON.stringify(header)).toString('base64url'),
  };
  const signature = await signWith(
    input.signer,
    algorithm,
    Buffer.from(`${encoded.protected}.${encoded.payload}`),
  );
  const stamp = await stampOf(input, signature);
  return Buffer.from(
    JSON.stringify({
      ...encoded,
      header: {
        x5c: chain.map((one) => one.toString('base64')),
        [headers.signingAgent]: signingAgent,
        ...(stamp === undefined ? {} : { [headers.timestampSignature]: stamp.toString('base64') }),
      },
      signature: signature.toString('base64url'),
    }),
  );
}

async function makeCose({ input, algorithm, payload, chain }: Deps): Promise<Buffer> {
  const { now, expiry } = input;
  const header = cbor(
    new Map<unknown, unknown>([
      [coseLabels.algorithm, coseAlgorithms[algorithm]],
      [coseLabels.critical, [headers.scheme, ...(expiry === undefined ? [] : [headers.expiry])]],
      [coseLabels.contentType, payloadContentType],
      [headers.scheme, 'notary.x509'],
      [headers.signingTime, new Tagged(epochTag, seconds(now))],
      ...(expiry === undefined ? [] : [[headers.expiry, new Tagged(epochTag, seconds(expiry))] as const]),
    ]),
  );
  const signature = await signWith(input.signer, algorithm, signatureStructure(header, payload));
  const stamp = await stampOf(input, signature);
  const unprotected = new Map<unknown, unknown>([
    [coseLabels.certificateChain, chain],
    [headers.signingAgent, signingAgent],
    ...(stamp === undefined ? [] : [[headers.timestampSignature, stamp] as const]),
  ]);
  return cbor(new Tagged(coseSign1Tag, [header, unprotected, payload, signature]));
}

/** Encodes maps and byte strings; the encoder treats Buffer as another type than Uint8Array. */
function cbor(value: unknown): Buffer {
  return Buffer.from(encode(plain(value)));
}

function plain(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return new Map([...value].map(([key, entry]) => [key, plain(entry)]));
  return value instanceof Tagged ? new Tagged(value.tag, plain(value.value)) : value;
}

/**
 * Returns the certificates of a signer as the Notary Project requires: an ordered, valid chain, whose leaf
 * has the signer's key.
 */
function readChain(signer: Signer, now: Date): readonly [Certificate, ...Certificate[]] {
  const fails = (why: string): PortcullisError =>
    new PortcullisError({
      code: 'TRUST_CERTIFICATE_CHAIN',
      kind: 'invalid',
      attempted: 'sign as the Notary Project does',
      on: signer.public.name,
      why,
      fix: 'give the chain of the key, from its own certificate to the self-signed root: --certificate-chain FILE',
    });
  const chain: readonly Certificate[] = orThrow(
    () => signer.certificates.map((one) => readCertificate(one)),
    (error) => fails(`a certificate cannot be read: ${(error as Error).message}`),
  );
  const [leaf, ...rest] = chain;
  if (leaf === undefined)
    throw fails('the key has no certificates, and a Notary Project signature must contain them');
  if (leaf.key.export({ type: 'spki', format: 'der' }).toString('base64') !== signer.public.spki)
    throw fails('the first certificate belongs to another key');
  const problem = chainProblem(chain, 'code signing');
  if (problem !== undefined) throw fails(problem);
  const time = now.getTime();
  const stale = chain.find(({ notBefore, notAfter }) => time < notBefore || time > notAfter);
  if (stale !== undefined) throw fails(`the certificate "${stale.subjectName.text}" is not valid now`);
  return [leaf, ...rest];
}

const curves: Readonly<Record<string, string>> = {
  ES256: 'prime256v1',
  ES384: 'secp384r1',
  ES512: 'secp521r1',
};

/**
 * Returns the raw signature. ECDSA requires r and s side by side, whereas signers return DER (RFC 7518
 * section 3.4, RFC 9053 section 2.1).
 */
async function signWith(signer: Signer, algorithm: string, message: Buffer): Promise<Buffer> {
  const size = curveBytes[curves[algorithm] ?? ''];
  const hash = `sha${algorithm.slice(2)}`;
  const scheme = `${size === undefined ? 'rsa-pss' : 'ecdsa'}-${hash}` as SignatureScheme;
  const signature = await signer.sign(message, scheme);
  return size === undefined ? signature : rawOfEcdsaSignature(signature, size);
}

async function stampOf(
  { signer, signal }: NotationSignatureInput,
  signature: Buffer,
): Promise<Buffer | undefined> {
  const [url] = signer.witnesses.timestamps;
  return url === undefined ? undefined : (await requestTimestamp(url, signature, signal)).token;
}

function seconds(time: Date): number {
  return Math.floor(time.getTime() / 1000);
}

function wholeSeconds(time: Date): string {
  return new Date(seconds(time) * 1000).toISOString().replace('.000Z', 'Z');
}
