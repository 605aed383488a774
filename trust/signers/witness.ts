import { createHash } from 'node:crypto';
import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { writePem } from '../../base/pem/index.ts';
import { preAuthEncoding } from '../keys/dsse.ts';
import { requestTimestamp } from './request-timestamp.ts';
import { postForBytes } from './post-json.ts';
import { logInRekor1 } from './rekor-v1.ts';
import type { ProposedEntry } from './rekor-v1.ts';
import { logInRekor2 } from './rekor-v2.ts';
import { identityCertificate } from './signer.ts';
import type { Signer } from './signer.ts';

/** A signature as it is sent to logs and timestamp authorities. */
export type Witnessed =
  | {
      readonly kind: 'dsse';
      readonly payload: Buffer;
      readonly payloadType: string;
      readonly signature: Buffer;
      /** The envelope's JSON, as it is stored. */
      readonly envelope: Buffer;
      /** The bytes that a timestamp covers; default: the signature. */
      readonly stamped?: Buffer;
    }
  | { readonly kind: 'message'; readonly message: Buffer; readonly signature: Buffer };

/** The answers of the services, in the JSON form of bundles; empty without services. */
export interface WitnessAnswer {
  readonly tlogEntries?: readonly unknown[];
  readonly timestampVerificationData?: {
    readonly rfc3161Timestamps: readonly { readonly signedTimestamp: string }[];
  };
}

/**
 * Submits a signature to the signer's logs and timestamp authorities.
 * @throws PortcullisError `TRUST_WITNESS_FAILED`
 */
export async function witness(signed: Witnessed, signer: Signer): Promise<WitnessAnswer> {
  const { logs, timestamps } = signer.witnesses;
  const [tlogEntries, stamps] = await Promise.all([
    Promise.all(
      logs.map(({ url, version }) =>
        asked(url, version === 2 ? logInTiles(url, signed, signer) : logInTree(url, signed, signer)),
      ),
    ),
    Promise.all(timestamps.map((url) => asked(url, stamp(url, stampedOf(signed))))),
  ]);
  const rfc3161Timestamps = stamps.map((one) => ({ signedTimestamp: one.toString('base64') }));
  return {
    ...(tlogEntries.length === 0 ? {} : { tlogEntries }),
    ...(stamps.length === 0 ? {} : { timestampVerificationData: { rfc3161Timestamps } }),
  };
}

/** Submits the signature to Rekor v2. */
function logInTiles(url: string, signed: Witnessed, signer: Signer): Promise<object> {
  const leaf = identityCertificate(signer);
  const message =
    signed.kind === 'dsse' ? preAuthEncoding(signed.payloadType, signed.payload) : signed.message;
  return logInRekor2(url, {
    message,
    signature: signed.signature,
    key: signer.public,
    ...(leaf === undefined ? {} : { certificate: leaf }),
  });
}

/** Submits the signature to Rekor v1. */
function logInTree(url: string, signed: Witnessed, signer: Signer): Promise<object> {
  const proposed: ProposedEntry =
    signed.kind === 'dsse'
      ? { kind: 'dsse', envelope: signed.envelope }
      : { kind: 'hashedrekord', message: signed.message, signature: signed.signature };
  return logInRekor1(url, proposed, verifierPem(signer));
}

function stampedOf(signed: Witnessed): Buffer {
  return signed.kind === 'dsse' && signed.stamped !== undefined ? signed.stamped : signed.signature;
}

/**
 * The path at which sigstore's timestamp-authority answers. A URL without a path also means this path, as in
 * the signing configurations of sigstore.
 */
const sigstorePath = '/api/v1/timestamp';

/** Returns a TimeStampResp (RFC 3161) in DER, from sigstore's own authority or any other. */
async function stamp(url: string, bytes: Buffer): Promise<Buffer> {
  const { pathname } = new URL(url);
  if (pathname !== '/' && !pathname.endsWith(sigstorePath))
    return (await requestTimestamp(url, bytes)).response;
  const address = pathname === '/' ? `${url.replace(/\/+$/, '')}${sigstorePath}` : url;
  const request = {
    artifactHash: createHash('sha256').update(bytes).digest('base64'),
    hashAlgorithm: 'sha256',
    certificates: true,
  };
  return Buffer.from(await postForBytes(address, request));
}

async function asked<T>(url: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (isPortcullisError(error)) throw error;
    const cause = error instanceof Error && error.cause !== undefined ? `: ${reasonOf(error.cause)}` : '';
    throw witnessFailure(url, `${reasonOf(error)}${cause}`);
  }
}

/** A log or a timestamp authority gave no answer that can be used. */
export function witnessFailure(url: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_WITNESS_FAILED',
    kind: 'unavailable',
    attempted: 'send a signature to logs and time stamp authorities',
    on: url,
    why: why.slice(0, 500),
    fix: 'check the services that the signing configuration names, and sign again',
  });
}

/** Returns the certificate, else the key, with which a log verifies the signature. PEM. */
export function verifierPem(signer: Signer): string {
  const leaf = identityCertificate(signer);
  return leaf === undefined
    ? writePem('PUBLIC KEY', Buffer.from(signer.public.spki, 'base64'))
    : writePem('CERTIFICATE', leaf);
}
