import { sha256Digest } from '../json/canonical-json.ts';
import { dsseMediaType } from '../evidence/cosign-names.ts';
import { unpackBytes } from '../evidence/byte-packing.ts';
import { standardBase64 } from '../keys/dsse.ts';
import { readBundle, readEnvelope } from '../sigstore/bundle.ts';
import type { Bundle, BundleContent } from '../sigstore/bundle.ts';
import { legacyBundle } from '../sigstore/legacy-bundle.ts';
import { decodeBase64, parseStrictJson, recordOf } from '../json/strict-json.ts';
import type { EvidenceItem } from '../findings/types.ts';

type DsseContent = Extract<BundleContent, { readonly kind: 'dsse' }>;

/** A DSSE envelope, from a sigstore bundle or a bare one under an `.att` tag. */
export interface Envelope {
  readonly payloadType: string;
  readonly payload: Buffer;
  /** One bundle for each signature, with the data that came with it (certificate, log entry, time stamp). */
  readonly signatures: readonly Bundle[];
}

type Read = Envelope | { readonly code: string; readonly problem: string };

/**
 * Each signature costs a verification. A bundle has exactly one (sigstore_bundle.proto). A bare envelope may
 * have several (DSSE protocol.md).
 */
const maximumSignatures = 8;

/** Each requirement of each decision reads the items again. The same item always gives the same result. */
const read = new WeakMap<EvidenceItem, Read>();

/** Returns the envelope of an item, or the reason why it has none. Never throws. */
export function envelopeOf(item: EvidenceItem): Read {
  let envelope = read.get(item);
  if (envelope === undefined) {
    envelope = readItem(item);
    read.set(item, envelope);
  }
  return envelope;
}

function readItem(item: EvidenceItem): Read {
  if (item.problem !== undefined) return { code: 'TRUST_EVIDENCE_UNUSABLE', problem: item.problem };
  const bytes = unpackBytes(item);
  if (bytes === undefined) return malformed('its bytes are missing');
  // The dossier may have been stored for a long time: bytes are trusted because of their digest, not because
  // of their source.
  if (sha256Digest(bytes) !== item.blobDigest)
    return {
      code: 'TRUST_EVIDENCE_ALTERED',
      problem: `its bytes have the digest ${sha256Digest(bytes)}, not ${item.blobDigest}`,
    };
  try {
    return item.mediaType === dsseMediaType ? readBare(bytes, item.annotations) : inBundle(readBundle(bytes));
  } catch (error) {
    return malformed((error as Error).message);
  }
}

function malformed(why: string): { readonly code: string; readonly problem: string } {
  return { code: 'TRUST_ATTESTATION_MALFORMED', problem: `it is malformed: ${why}` };
}

function inBundle(bundle: Bundle): Envelope {
  if (bundle.content.kind !== 'dsse') throw new Error('it contains no dsseEnvelope');
  const { payloadType, payload } = bundle.content;
  return { payloadType, payload, signatures: [bundle] };
}

/**
 * Reads cosign's older form: the certificate, log entry and time stamp are in the annotations of the layer.
 */
function readBare(bytes: Buffer, annotations: Readonly<Record<string, string>>): Envelope {
  const envelope = recordOf(parseStrictJson(bytes));
  const list = envelope?.['signatures'];
  if (envelope === undefined || !Array.isArray(list) || list.length === 0 || list.length > maximumSignatures)
    throw new Error(`its envelope does not have 1 to ${maximumSignatures} signatures`);
  // Each signature counts as in an envelope of its own, and its further fields are ignored (DSSE
  // envelope.md): a placeholder, or the certificate of another tool, affects no other signature.
  const written = list.map((signature: unknown) => ({ sig: recordOf(signature)?.['sig'] }));
  const readable = written.filter(({ sig }) => (decodeBase64(standardBase64(sig))?.length ?? 0) > 0);
  const contents = (readable.length === 0 ? written : readable).map(
    (signature) => readEnvelope({ ...envelope, signatures: [signature] }) as DsseContent,
  );
  const [{ payloadType, payload }] = contents as [DsseContent];
  return {
    payloadType,
    payload,
    signatures: contents.map((content) => ({
      ...legacyBundle(content.signature, annotations),
      content,
      stamped: bytes,
    })),
  };
}
