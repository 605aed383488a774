import { sha256Digest } from '../json/canonical-json.ts';
import { simpleSigningMediaType } from '../evidence/cosign-names.ts';
import type { SigstoreAuthority } from './authority.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { CheckedSignature } from '../findings/authority.ts';
import { checkBundle } from './cosign-bundle.ts';
import { checkSimpleSigning } from './simple-signing.ts';
import { malformed } from '../findings/signature-finding.ts';
import type { SignatureFinding, Subject } from '../findings/signature-finding.ts';
import { decodeBase64 } from '../json/strict-json.ts';

/**
 * Checks whether an item of the dossier is the authority's signature of this image, and gives the reason.
 * Never throws.
 */
export function checkItem(
  item: EvidenceItem,
  authority: SigstoreAuthority,
  subject: Subject,
  now: Date,
): CheckedSignature {
  return {
    place: describeItem(item, subject),
    finding: usable(item) ?? check(item, authority, subject, now),
  };
}

function check(
  item: EvidenceItem,
  authority: SigstoreAuthority,
  subject: Subject,
  now: Date,
): SignatureFinding {
  const bytes = decodeBase64(item.bytes);
  if (bytes === undefined) return malformed('its bytes are missing');
  // The dossier may have been stored for a long time: bytes are trusted because of their digest, not because
  // of their source.
  if (sha256Digest(bytes) !== item.blobDigest) {
    return {
      counted: false,
      code: 'TRUST_EVIDENCE_ALTERED',
      says: `its bytes have the digest ${sha256Digest(bytes)}, not ${item.blobDigest}`,
    };
  }
  const read = item.mediaType === simpleSigningMediaType ? checkSimpleSigning : checkBundle;
  return read(item, bytes, authority, subject, now);
}

function usable(item: EvidenceItem): SignatureFinding | undefined {
  if (item.problem !== undefined)
    return { counted: false, code: 'TRUST_EVIDENCE_UNUSABLE', says: item.problem };
  return undefined;
}

function describeItem(item: EvidenceItem, subject: Subject): string {
  const form = item.kind === 'sigstore-bundle' ? 'sigstore bundle' : 'cosign signature';
  const place =
    item.attachedTo === subject.digest && subject.digest !== subject.manifestDigest
      ? 'the index'
      : 'the manifest';
  const name = item.blobDigest === '' ? item.manifestDigest : item.blobDigest;
  return `${form} ${name || '(unknown)'} beside ${place}, found by ${item.foundBy} at ${item.servedBy}`;
}
