import { createHash } from 'node:crypto';
import { attempt } from '../../base/errors/index.ts';
import { onlyPemBlock } from '../../base/pem/index.ts';
import { signerOfSpki } from '../keys/canonical-spki.ts';
import { preAuthEncoding } from '../keys/dsse.ts';
import { decodeBase64, parseStrictJson, recordOf, textOf } from '../json/strict-json.ts';
import { readCertificate } from '../x509/certificate.ts';
import type { Bundle, BundleContent, LogEntry } from './bundle.ts';
import { digestOfHashAlgorithm } from './key-details.ts';

/** The signed message, as far as the verifier has it: bytes, or only digests of them. */
export interface SignedMessage {
  /** The signed bytes; absent when only digests are known. */
  readonly bytes?: Uint8Array;
  /** Known digests of the bytes, by Node's name, in hex. */
  readonly digests: Readonly<Record<string, string>>;
}

/** The signer: exactly one of the two. */
export interface LoggedSigner {
  /** DER of the signer's certificate. */
  readonly certificate?: Buffer;
  /** DER of the key (SPKI). */
  readonly spki: Buffer;
}

type Json = Readonly<Record<string, unknown>>;

/**
 * Checks that the body of a log entry is about this signature: same signature, same signer, same content.
 * Without this check, any unrelated entry could be attached to any signature.
 * @returns what does not match, or undefined
 */
export function bodyFlaw(
  entry: LogEntry,
  { content, stamped: envelope }: Pick<Bundle, 'content' | 'stamped'>,
  message: SignedMessage,
  signer: LoggedSigner,
): string | undefined {
  let body: Json | undefined;
  try {
    body = recordOf(parseStrictJson(entry.body));
  } catch (error) {
    return `its body: ${(error as Error).message}`;
  }
  if (body?.['kind'] !== entry.kind || body['apiVersion'] !== entry.version)
    return 'its body has another kind than the entry states';
  const spec = recordOf(body['spec']) ?? {};
  const claim = claims[`${entry.kind} ${entry.version}`]?.(spec);
  if (claim === undefined) return `its kind ${entry.kind} ${entry.version} is not supported`.slice(0, 200);
  // The digest of a whole envelope covers its signature, too.
  if (claim.of !== 'envelope' && !claim.signature?.equals(content.signature))
    return 'it is for another signature';
  if (!isSigner(claim, signer)) return 'it is for another signer';
  if (claim.of === 'payload' && content.kind !== 'dsse') return 'it is for an envelope';
  if (claim.of === 'envelope') {
    if (envelope === undefined) return 'it is for an envelope that is not available in its logged form';
    const digest = digestHex(claim.algorithm, envelope);
    return digest !== undefined && digest === claim.digest ? undefined : 'it is for another envelope';
  }
  const expected =
    claim.of === 'payload' && content.kind === 'dsse'
      ? digestHex(claim.algorithm, content.payload)
      : digestOf(message, claim.algorithm);
  return expected !== undefined && expected === claim.digest ? undefined : 'it is for other content';
}

/** The content of an entry, in one form for every kind. */
interface Claim {
  readonly signature: Buffer | undefined;
  /** PEM of a certificate or key, or DER. */
  readonly verifier: { readonly pem?: string; readonly certificate?: Buffer; readonly spki?: Buffer };
  /**
   * Whether the digest is of an envelope's payload, of the signed bytes, or of the envelope as it was
   * uploaded.
   */
  readonly of: 'payload' | 'message' | 'envelope';
  readonly algorithm: string;
  /** Hex. */
  readonly digest: string | undefined;
}

/** Readers by kind and version (sigstore/rekor pkg/types, sigstore/rekor-tiles). */
const claims: Readonly<Record<string, (spec: Json) => Claim>> = {
  'hashedrekord 0.0.1': recordClaim,
  // cosign before 1.0. Keys of the other formats (pgp, minisign, ssh) match no signer of a bundle.
  'rekord 0.0.1': recordClaim,
  // Attestations of cosign 1 and 2, whose signature is only in the envelope.
  'intoto 0.0.1': (spec) => {
    const hash = recordOf(recordOf(spec['content'])?.['hash']);
    return {
      signature: undefined,
      verifier: { pem: text(spec['publicKey']) },
      of: 'envelope',
      algorithm: textOf(hash?.['algorithm']) ?? '',
      digest: hexText(hash?.['value']),
    };
  },
  'dsse 0.0.1': (spec) => {
    const signature = only(spec['signatures']);
    const hash = recordOf(spec['payloadHash']);
    return {
      signature: decodeBase64(signature?.['signature']),
      verifier: { pem: text(signature?.['verifier']) },
      of: 'payload',
      algorithm: textOf(hash?.['algorithm']) ?? '',
      digest: hexText(hash?.['value']),
    };
  },
  'intoto 0.0.2': (spec) => {
    const content = recordOf(spec['content']);
    const signature = only(recordOf(content?.['envelope'])?.['signatures']);
    const hash = recordOf(content?.['payloadHash']);
    // Rekor encodes this signature twice.
    const once = decodeBase64(signature?.['sig']);
    return {
      signature: once === undefined ? undefined : decodeBase64(once.toString('latin1')),
      verifier: { pem: text(signature?.['publicKey']) },
      of: 'payload',
      algorithm: textOf(hash?.['algorithm']) ?? '',
      digest: hexText(hash?.['value']),
    };
  },
  'hashedrekord 0.0.2': (spec) => {
    const entry = recordOf(spec['hashedRekordV002']);
    const signature = recordOf(entry?.['signature']);
    return { ...tileClaim(signature, recordOf(entry?.['data'])), of: 'message' };
  },
  'dsse 0.0.2': (spec) => {
    const entry = recordOf(spec['dsseV002']);
    return { ...tileClaim(only(entry?.['signatures']), recordOf(entry?.['payloadHash'])), of: 'payload' };
  },
};

function recordClaim(spec: Json): Claim {
  const signature = recordOf(spec['signature']);
  const hash = recordOf(recordOf(spec['data'])?.['hash']);
  return {
    signature: decodeBase64(signature?.['content']),
    verifier: { pem: text(recordOf(signature?.['publicKey'])?.['content']) },
    of: 'message',
    algorithm: textOf(hash?.['algorithm']) ?? '',
    digest: hexText(hash?.['value']),
  };
}

/** Returns the fields that both kinds of Rekor v2 share. */
function tileClaim(signature: Json | undefined, hash: Json | undefined): Omit<Claim, 'of'> {
  const verifier = recordOf(signature?.['verifier']);
  const certificate = decodeBase64(recordOf(verifier?.['x509Certificate'])?.['rawBytes']);
  const spki = decodeBase64(recordOf(verifier?.['publicKey'])?.['rawBytes']);
  return {
    signature: decodeBase64(signature?.['content']),
    verifier: {
      ...(certificate === undefined ? {} : { certificate }),
      ...(spki === undefined ? {} : { spki }),
    },
    algorithm: digestOfHashAlgorithm(hash?.['algorithm']) ?? '',
    digest: decodeBase64(hash?.['digest'])?.toString('hex'),
  };
}

function isSigner({ verifier }: Claim, signer: LoggedSigner): boolean {
  const { pem } = verifier;
  if (pem !== undefined) {
    const block = onlyPemBlock(pem);
    if ('problem' in block) return false;
    if (block.type === 'CERTIFICATE')
      return isSigner({ verifier: { certificate: block.content } } as Claim, signer);
    return block.type === 'PUBLIC KEY' && sameKey(block.content, signer);
  }
  if (verifier.certificate !== undefined) {
    return signer.certificate === undefined
      ? sameCertificateKey(verifier.certificate, signer)
      : signer.certificate.equals(verifier.certificate);
  }
  return verifier.spki !== undefined && sameKey(verifier.spki, signer);
}

/**
 * Returns whether the key is the signer's. The entry of a keyless signature names the certificate; a key is
 * sufficient only when a key signed.
 */
function sameKey(spki: Buffer, signer: LoggedSigner): boolean {
  if (signer.certificate !== undefined) return false;
  if (spki.equals(signer.spki)) return true;
  try {
    // A point can be compressed in the policy's key and not in the log, or the other way round.
    return signerOfSpki(spki.toString('base64')) === signerOfSpki(signer.spki.toString('base64'));
  } catch {
    return false;
  }
}

function sameCertificateKey(certificate: Buffer, signer: LoggedSigner): boolean {
  return attempt(() => sameKey(readCertificate(certificate).spki, signer)) ?? false;
}

function digestOf(message: SignedMessage, algorithm: string): string | undefined {
  if (message.bytes !== undefined) return digestHex(algorithm, message.bytes);
  return Object.hasOwn(message.digests, algorithm) ? message.digests[algorithm] : undefined;
}

function digestHex(algorithm: string, bytes: Uint8Array): string | undefined {
  return ['sha256', 'sha384', 'sha512'].includes(algorithm)
    ? createHash(algorithm).update(bytes).digest('hex')
    : undefined;
}

/** Returns the signed bytes of an envelope. */
export function envelopeMessage(content: BundleContent & { readonly kind: 'dsse' }): SignedMessage {
  return { bytes: preAuthEncoding(content.payloadType, content.payload), digests: {} };
}

/** Returns the only entry of a list; undefined for any other number of entries. */
function only(list: unknown): Json | undefined {
  return Array.isArray(list) && list.length === 1 ? recordOf(list[0]) : undefined;
}

function text(base64: unknown): string {
  return decodeBase64(base64)?.toString('latin1') ?? '';
}

function hexText(value: unknown): string | undefined {
  return typeof value === 'string' && /^[0-9a-f]+$/.test(value) ? value : undefined;
}
