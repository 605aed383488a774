import { createHash } from 'node:crypto';
import type { RFC3161SignedTimestamp, TransparencyLogEntry } from '@sigstore/bundle';
import type { SignatureBundle } from '@sigstore/sign';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { WitnessUrls } from './signer.ts';

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
 * Tells the log and the time stamp authorities of a signature.
 * @param verifier PEM of the certificate or key that verifies it
 * @throws PortcullisError `TRUST_WITNESS_FAILED`
 */
export async function witness(signed: Witnessed, verifier: string, urls: WitnessUrls): Promise<WitnessAnswer> {
  if (urls.logs.length === 0 && urls.timestamps.length === 0) return {};
  const { entries, timestamps } = await askWitnesses(signed, verifier, urls);
  const { TransparencyLogEntry: entry } = await import('@sigstore/protobuf-specs');
  return {
    ...(entries.length === 0 ? {} : { tlogEntries: entries.map((one) => entry.toJSON(one)) }),
    ...(timestamps.length === 0
      ? {}
      : {
          timestampVerificationData: {
            rfc3161Timestamps: timestamps.map(({ signedTimestamp }) => ({
              signedTimestamp: Buffer.from(signedTimestamp).toString('base64'),
            })),
          },
        }),
  };
}

async function askWitnesses(
  signed: Witnessed,
  verifier: string,
  { logs, timestamps }: WitnessUrls,
): Promise<{ readonly entries: readonly TransparencyLogEntry[]; readonly timestamps: readonly RFC3161SignedTimestamp[] }> {
  const { RekorWitness, TSAWitness } = await import('@sigstore/sign');
  const content = await contentOf(signed);
  const answered = await Promise.all([
    ...logs.map(({ url, version }) =>
      asked(url, new RekorWitness({ rekorBaseURL: url, majorApiVersion: version, ...patience }).testify(content, verifier)),
    ),
    ...timestamps.map((url) => asked(url, new TSAWitness({ tsaBaseURL: url, ...patience }).testify(content))),
  ]);
  return {
    entries: answered.flatMap((one) => ('tlogEntries' in one ? one.tlogEntries : [])),
    timestamps: answered.flatMap((one) => ('rfc3161Timestamps' in one ? one.rfc3161Timestamps : [])),
  };
}

async function asked<T>(url: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
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
