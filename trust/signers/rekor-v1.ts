import { createHash } from 'node:crypto';
import { parseStrictJson, recordOf } from '../json/strict-json.ts';
import { postJson } from './post-json.ts';

/** The content that is sent to a Rekor v1 log: a complete envelope (JSON), or the digest of a message. */
export type ProposedEntry =
  | { readonly kind: 'dsse'; readonly envelope: Uint8Array }
  | { readonly kind: 'hashedrekord'; readonly message: Uint8Array; readonly signature: Uint8Array };

/**
 * Adds a signature to a Rekor v1 log (sigstore/rekor openapi.yaml, pkg/types/dsse and
 * pkg/types/hashedrekord). When the log already has the signature, its existing entry is returned.
 * @param verifier PEM of the certificate or key that verifies it
 * @returns the entry in the JSON form of bundles
 * @throws Error with a sentence
 */
export async function logInRekor1(url: string, proposed: ProposedEntry, verifier: string): Promise<object> {
  return entryOf(
    await postJson(
      `${url.replace(/\/+$/, '')}/api/v1/log/entries`,
      requestOf(proposed, base64(Buffer.from(verifier))),
    ),
  );
}

function requestOf(proposed: ProposedEntry, verifier: string): object {
  if (proposed.kind === 'dsse') {
    // The log hashes exactly this text, and readers of cosign's older form compare the hash.
    const proposedContent = {
      envelope: Buffer.from(proposed.envelope).toString('utf8'),
      verifiers: [verifier],
    };
    return { apiVersion: '0.0.1', kind: 'dsse', spec: { proposedContent } };
  }
  const hash = { algorithm: 'sha256', value: createHash('sha256').update(proposed.message).digest('hex') };
  const signature = { content: base64(proposed.signature), publicKey: { content: verifier } };
  return { apiVersion: '0.0.1', kind: 'hashedrekord', spec: { data: { hash }, signature } };
}

/**
 * Converts a log entry by its UUID to TransparencyLogEntry (sigstore/protobuf-specs sigstore_rekor.proto),
 * whose integers are text.
 */
function entryOf(answer: unknown): object {
  const [entry, ...others] = Object.values(recordOf(answer) ?? {}).map(recordOf);
  const { body, integratedTime, logID, logIndex, verification } = entry ?? {};
  if (others.length > 0 || typeof body !== 'string' || typeof logID !== 'string') throw notAnEntry();
  const { signedEntryTimestamp, inclusionProof } = recordOf(verification) ?? {};
  const proof = recordOf(inclusionProof);
  const hashes = proof?.['hashes'] ?? [];
  const said = recordOf(parseStrictJson(Buffer.from(body, 'base64')));
  return {
    logIndex: integerOf(logIndex),
    logId: { keyId: base64Of(logID) },
    kindVersion: { kind: textOf(said?.['kind']), version: textOf(said?.['apiVersion']) },
    integratedTime: integerOf(integratedTime),
    ...(typeof signedEntryTimestamp === 'string' ? { inclusionPromise: { signedEntryTimestamp } } : {}),
    ...(proof === undefined
      ? {}
      : {
          inclusionProof: {
            logIndex: integerOf(proof['logIndex']),
            rootHash: base64Of(proof['rootHash']),
            treeSize: integerOf(proof['treeSize']),
            hashes: Array.isArray(hashes) ? hashes.map(base64Of) : [],
            checkpoint: { envelope: textOf(proof['checkpoint']) },
          },
        }),
    canonicalizedBody: body,
  };
}

function notAnEntry(): Error {
  return new Error('its answer is not an entry of a log');
}

/** Reads an integer, which bundles write as text. */
function integerOf(value: unknown): string {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw notAnEntry();
  return String(value);
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw notAnEntry();
  return value;
}

/** Converts hex, which Rekor v1 writes. */
function base64Of(hex: unknown): string {
  return Buffer.from(textOf(hex), 'hex').toString('base64');
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
