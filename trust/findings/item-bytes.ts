import { decodeBase64 } from '../json/strict-json.ts';
import type { SignatureFinding } from './signature-finding.ts';
import { malformed } from './signature-finding.ts';
import type { EvidenceItem } from './types.ts';

/**
 * Returns the bytes of an item, or the finding of an item whose bytes cannot be used. The dossier may have
 * been stored for a long time: bytes are trusted because of their digest, not because of their source.
 * @param digestOf returns the digest of bytes, with its algorithm
 */
export function bytesOf(
  item: EvidenceItem,
  digestOf: (bytes: Uint8Array) => string,
):
  | { readonly bytes: Buffer; readonly refused?: never }
  | { readonly bytes?: never; readonly refused: SignatureFinding } {
  if (item.problem !== undefined) return refused('TRUST_EVIDENCE_UNUSABLE', item.problem);
  const bytes = decodeBase64(item.bytes);
  if (bytes === undefined) return { refused: malformed('its bytes are missing') };
  const digest = digestOf(bytes);
  return digest === item.blobDigest
    ? { bytes }
    : refused('TRUST_EVIDENCE_ALTERED', `its bytes have the digest ${digest}, not ${item.blobDigest}`);
}

const refused = (code: string, says: string): { readonly refused: SignatureFinding } => ({
  refused: { counted: false, code, says },
});
