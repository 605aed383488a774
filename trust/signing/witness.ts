import { createHash, createPublicKey } from 'node:crypto';
import type { SignatureBundle } from '@sigstore/sign';
import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { preAuthEncoding } from '../dsse.ts';
import { requestTimestamp } from '../notation/request-timestamp.ts';
import { logInRekor2 } from './rekor-v2.ts';
import type { Signer } from './signer.ts';

/** A signature as logs and time stamp authorities are told of it. */
export type Witnessed =
  | { readonly kind: 'dsse'; readonly payload: Buffer; readonly payloadType: string; readonly signature: Buffer }
  | { readonly kind: 'message'; readonly message: Buffer; readonly signature: Buffer };

/** What the services answered, as a bundle's JSON holds it; without services, nothing. */
export interface WitnessAnswer {
  readonly tlogEntries?: readonly unknown[];
  readonly timestampVerificationData?: { readonly rfc3161Timestamps: readonly { readonly signedTimestamp: string }[] };
}

const patience = { timeout: 20_000, retry: { retries: 2 } };

/**
 * Tells the signer's logs and time stamp authorities of a signature.
 * @throws PortcullisError `TRUST_WITNESS_FAILED`
 */
export async function witness(signed: Witnessed, signer: Signer): Promise<WitnessAnswer> {
  const { logs, timestamps } = signer.witnesses;
  const [tlogEntries, stamps] = await Promise.all([
    Promise.all(
      logs.map(({ url, version }) => asked(url, version === 2 ? logInTiles(url, signed, signer) : logInTree(url, signed, signer))),
    ),
    Promise.all(timestamps.map((url) => asked(url, stamp(url, signed.signature)))),
  ]);
  const rfc3161Timestamps = stamps.map((one) => ({ signedTimestamp: one.toString('base64') }));
  return {
    ...(tlogEntries.length === 0 ? {} : { tlogEntries }),
    ...(stamps.length === 0 ? {} : { timestampVerificationData: { rfc3161Timestamps } }),
  };
}

/** Rekor v2. */
function logInTiles(url: string, signed: Witnessed, { public: key, certificates: [leaf] }: Signer): Promise<object> {
  const message = signed.kind === 'dsse' ? preAuthEncoding(signed.payloadType, signed.payload) : signed.message;
  return logInRekor2(url, { message, signature: signed.signature, key, ...(leaf === undefined ? {} : { certificate: leaf }) });
}

/** Rekor v1. */
async function logInTree(url: string, signed: Witnessed, signer: Signer): Promise<unknown> {
  const [{ RekorWitness }, { TransparencyLogEntry }] = await Promise.all([import('@sigstore/sign'), import('@sigstore/protobuf-specs')]);
  const log = new RekorWitness({ rekorBaseURL: url.replace(/\/+$/, ''), majorApiVersion: 1, ...patience });
  const { tlogEntries } = await log.testify(await contentOf(signed), verifierPem(signer));
  const [entry] = tlogEntries;
  if (entry === undefined) throw new Error('its answer is no entry of a log');
  return TransparencyLogEntry.toJSON(entry);
}

/** The path at which sigstore's timestamp-authority answers; a URL without a path means it too, as in its signing configurations. */
const sigstorePath = '/api/v1/timestamp';

/** A TimeStampResp (RFC 3161) in DER, from sigstore's own authority or any other. */
async function stamp(url: string, signature: Buffer): Promise<Buffer> {
  const { pathname } = new URL(url);
  if (pathname !== '/' && !pathname.endsWith(sigstorePath)) return (await requestTimestamp(url, signature)).response;
  const { TSAWitness } = await import('@sigstore/sign');
  const content = { $case: 'messageSignature', messageSignature: { messageDigest: undefined, signature } } as SignatureBundle;
  const { rfc3161Timestamps } = await new TSAWitness({ tsaBaseURL: url.replace(/\/+$/, ''), ...patience }).testify(content);
  const [one] = rfc3161Timestamps;
  if (one === undefined) throw new Error('its answer is no time stamp');
  return Buffer.from(one.signedTimestamp);
}

async function asked<T>(url: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (isPortcullisError(error)) throw error;
    const cause = error instanceof Error && error.cause !== undefined ? `: ${reasonOf(error.cause)}` : '';
    throw new PortcullisError({
      code: 'TRUST_WITNESS_FAILED',
      kind: 'unavailable',
      attempted: 'have a signature witnessed',
      on: url,
      why: `${reasonOf(error)}${cause}`,
      fix: 'check the services that the signing configuration names, and sign again',
    });
  }
}

async function contentOf(signed: Witnessed): Promise<SignatureBundle> {
  if (signed.kind === 'dsse') {
    const { payload, payloadType, signature } = signed;
    return { $case: 'dsseEnvelope', dsseEnvelope: { payload, payloadType, signatures: [{ sig: signature, keyid: '' }] } };
  }
  const { HashAlgorithm } = await import('@sigstore/protobuf-specs');
  const messageDigest = { algorithm: HashAlgorithm.SHA2_256, digest: createHash('sha256').update(signed.message).digest() };
  return { $case: 'messageSignature', messageSignature: { messageDigest, signature: signed.signature } };
}

/** What a log is told to verify the signature with: the certificate, else the key. PEM. */
export function verifierPem(signer: Signer): string {
  const [leaf] = signer.certificates;
  if (leaf !== undefined)
    return `-----BEGIN CERTIFICATE-----\n${leaf.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')}\n-----END CERTIFICATE-----\n`;
  return createPublicKey({ key: Buffer.from(signer.public.spki, 'base64'), format: 'der', type: 'spki' })
    .export({ type: 'spki', format: 'pem' })
    .toString();
}
