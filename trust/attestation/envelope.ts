import { sha256Digest } from '../canonical-json.ts';
import { bundleMediaTypes, dsseMediaType } from '../evidence/cosign-names.ts';
import { decodeBase64, parseStrictJson, recordOf } from '../strict-json.ts';
import type { EvidenceItem } from '../types.ts';

/** A DSSE envelope as it was found: in a sigstore bundle, or by itself under an `.att` tag. */
export interface Envelope {
  readonly form: 'bundle' | 'envelope';
  readonly payloadType: string;
  readonly payload: Buffer;
  readonly signatures: readonly Buffer[];
  /** The key that a bundle says it was signed with. No proof. */
  readonly keyHint?: string;
}

/** Each costs a verification. A bundle has exactly one (sigstore_bundle.proto); a bare envelope may have several (DSSE protocol.md). */
const maximumSignatures = 8;

/** Items are read for each requirement of each decision; the same item reads the same. */
const read = new WeakMap<EvidenceItem, Envelope | { readonly code: string; readonly problem: string }>();

/** The envelope of an item, or why it has none. Never throws. */
export function envelopeOf(item: EvidenceItem): Envelope | { readonly code: string; readonly problem: string } {
  let envelope = read.get(item);
  if (envelope === undefined) {
    envelope = readItem(item);
    read.set(item, envelope);
  }
  return envelope;
}

function readItem(item: EvidenceItem): Envelope | { readonly code: string; readonly problem: string } {
  if (item.problem !== undefined) return { code: 'TRUST_EVIDENCE_UNUSABLE', problem: item.problem };
  const bytes = decodeBase64(item.bytes);
  if (bytes === undefined) return malformedItem('its bytes are missing');
  // The dossier may have been stored for long: bytes are believed by digest, not by where they come from.
  if (sha256Digest(bytes) !== item.blobDigest)
    return { code: 'TRUST_EVIDENCE_ALTERED', problem: `its bytes have the digest ${sha256Digest(bytes)}, not ${item.blobDigest}` };
  try {
    const value = recordOf(parseStrictJson(bytes)) ?? {};
    return item.mediaType === dsseMediaType ? readEnvelope(value, 'envelope') : readBundle(value);
  } catch (error) {
    return malformedItem((error as Error).message);
  }
}

function malformedItem(why: string): { readonly code: string; readonly problem: string } {
  return { code: 'TRUST_ATTESTATION_MALFORMED', problem: `it is malformed: ${why}` };
}

function readBundle(bundle: Readonly<Record<string, unknown>>): Envelope {
  if (!bundleMediaTypes.includes(String(bundle['mediaType']))) throw new Error('it is not a sigstore bundle of version 0.3');
  const envelope = recordOf(bundle['dsseEnvelope']);
  if (envelope === undefined) throw new Error('it holds no dsseEnvelope');
  const hint = recordOf(recordOf(bundle['verificationMaterial'])?.['publicKey'])?.['hint'];
  return { ...readEnvelope(envelope, 'bundle'), ...(typeof hint === 'string' ? { keyHint: hint } : {}) };
}

function readEnvelope(envelope: Readonly<Record<string, unknown>>, form: Envelope['form']): Envelope {
  const { payloadType, signatures } = envelope;
  const payload = decodeBase64(envelope['payload']);
  if (typeof payloadType !== 'string' || payload === undefined) throw new Error('its envelope has no payload type or no payload');
  const most = form === 'bundle' ? 1 : maximumSignatures;
  if (!Array.isArray(signatures) || signatures.length === 0 || signatures.length > most)
    throw new Error(form === 'bundle' ? 'its envelope has not exactly one signature' : `its envelope has not 1 to ${most} signatures`);
  const found = signatures.map((signature: unknown) => decodeBase64(recordOf(signature)?.['sig']));
  if (found.includes(undefined)) throw new Error('a signature of its envelope can not be read');
  return { form, payloadType, payload, signatures: found as Buffer[] };
}
