import { Tagged, decode, encode } from 'cborg';
import { headers } from './media-types.ts';
import type { OpenedEnvelope } from './opened-envelope.ts';

/** Labels of RFC 9052 section 3.1 and RFC 9360. */
export const coseLabels = { algorithm: 1, critical: 2, contentType: 3, certificateChain: 33 } as const;
export const coseSign1Tag = 18;
export const epochTag = 1;
export const coseAlgorithms: Readonly<Record<string, number>> = {
  ES256: -7,
  ES384: -35,
  ES512: -36,
  PS256: -37,
  PS384: -38,
  PS512: -39,
};

const timeLabels: readonly unknown[] = [headers.signingTime, headers.authenticSigningTime, headers.expiry];

const options = {
  allowIndefinite: false,
  allowUndefined: false,
  allowNaN: false,
  allowInfinity: false,
  allowBigInt: false,
  useMaps: true,
  rejectDuplicateMapKeys: true,
  tags: Tagged.preserve(coseSign1Tag, epochTag),
};

/**
 * Reads a COSE_Sign1_Tagged message (RFC 9052 section 4.2, signature-envelope-cose.md).
 * @throws Error with a sentence
 */
export function openCose(bytes: Uint8Array): OpenedEnvelope {
  const message = decodeCbor(bytes, 'it');
  if (!(message instanceof Tagged) || message.tag !== coseSign1Tag)
    throw new Error('it is not a tagged COSE_Sign1 message');
  const parts = message.value as readonly unknown[] | undefined;
  if (!Array.isArray(parts) || parts.length !== 4) throw new Error('it is not a tagged COSE_Sign1 message');
  const [encoded, unprotected, payload, signature] = parts as readonly unknown[];
  if (!isBytes(encoded) || !isBytes(payload) || !isBytes(signature) || !(unprotected instanceof Map))
    throw new Error('a part of it has the wrong type, is empty or missing');
  const signed = decodeCbor(encoded, 'its protected header');
  if (!(signed instanceof Map)) throw new Error('its protected header is not a map');
  for (const label of signed.keys())
    if (unprotected.has(label)) throw new Error(`it has the label ${String(label)} both signed and unsigned`);
  const number: unknown = signed.get(coseLabels.algorithm);
  const algorithm = Object.keys(coseAlgorithms).find((name) => coseAlgorithms[name] === number);
  if (algorithm === undefined) throw new Error('it names no algorithm that the Notary Project allows');
  const critical: unknown = signed.get(coseLabels.critical);
  if (!Array.isArray(critical) || critical.length === 0) throw new Error('it lists no critical headers');
  const chain: unknown = unprotected.get(coseLabels.certificateChain);
  if (!Array.isArray(chain) || chain.length === 0 || !chain.every(isBytes))
    throw new Error('it contains no certificate chain');
  const stamp: unknown = unprotected.get(headers.timestampSignature);
  if (stamp !== undefined && !isBytes(stamp)) throw new Error('its time stamp is not a byte string');
  const own: readonly unknown[] = [coseLabels.algorithm, coseLabels.critical, coseLabels.contentType];
  return {
    algorithm,
    contentType: signed.get(coseLabels.contentType),
    critical,
    attributes: new Map(
      [...signed]
        .filter(([label]) => !own.includes(label))
        .map(([label, value]) => [label, timeLabels.includes(label) ? timeIn(value, label) : value]),
    ),
    payload: Buffer.from(payload),
    signature: Buffer.from(signature),
    signed: signatureStructure(encoded, payload),
    chain,
    ...(stamp === undefined ? {} : { timestamp: Buffer.from(stamp) }),
  };
}

/** Returns the Sig_structure of COSE_Sign1 without external data (RFC 9052 section 4.4). */
export function signatureStructure(protectedHeader: Uint8Array, payload: Uint8Array): Buffer {
  return Buffer.from(encode(['Signature1', plain(protectedHeader), new Uint8Array(0), plain(payload)]));
}

function decodeCbor(bytes: Uint8Array, what: string): unknown {
  try {
    return decode(plain(bytes), options) as unknown;
  } catch (error) {
    // The decoder's messages contain no content. Nesting of thousands of levels ends in the engine's own
    // error.
    throw new Error(
      `${what} is not CBOR: ${error instanceof RangeError ? 'it is nested too deeply' : (error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}

/** Converts to Uint8Array, because the encoder and decoder treat Buffer as another type. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.length > 0;
}

/** Reads an epoch-based date (RFC 8949 section 3.4.2), tagged as such; milliseconds since 1970. */
function timeIn(value: unknown, label: unknown): number {
  const seconds = value instanceof Tagged && value.tag === epochTag ? (value.value as unknown) : undefined;
  if (typeof seconds !== 'number' || !Number.isFinite(seconds) || Math.abs(seconds) > 1e11)
    throw new Error(`its ${String(label)} is not a time`);
  return Math.floor(seconds * 1000);
}
