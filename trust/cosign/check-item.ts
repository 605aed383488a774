import { sha256Digest } from '../json/canonical-json.ts';
import { simpleSigningMediaType } from '../evidence/cosign-names.ts';
import type { SigstoreAuthority } from './authority.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { CheckedSignature } from '../findings/authority.ts';
import { checkBundle } from './cosign-bundle.ts';
import { checkSimpleSigning } from './simple-signing.ts';
import { bytesOf } from '../findings/item-bytes.ts';
import type { SignatureFinding, Subject } from '../findings/signature-finding.ts';

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
    finding: check(item, authority, subject, now),
  };
}

function check(
  item: EvidenceItem,
  authority: SigstoreAuthority,
  subject: Subject,
  now: Date,
): SignatureFinding {
  const { bytes, refused } = bytesOf(item, sha256Digest);
  if (refused !== undefined) return refused;
  const read = item.mediaType === simpleSigningMediaType ? checkSimpleSigning : checkBundle;
  return read(item, bytes, authority, subject, now);
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
