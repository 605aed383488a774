import { smallest } from '../../base/lists/index.ts';
import { sha256Digest } from '../json/canonical-json.ts';
import type { EvidenceItem } from '../findings/types.ts';
import { signerOfSpki } from '../keys/canonical-spki.ts';
import { bytesOf } from '../findings/item-bytes.ts';
import { judgeDigests, malformed } from '../findings/signature-finding.ts';
import type { SignatureFinding, Subject } from '../findings/signature-finding.ts';
import { isShortHash, isWeakHash } from './algorithms.ts';
import type { GpgKey, GpgSigningKey, Revocation } from '../requirements/gpg-key.ts';
import { readPayload } from './payload.ts';
import { readSignedMessage } from './signed-message.ts';
import type { SignedMessage } from './signed-message.ts';
import { verifyPacket } from './verify-packet.ts';

/** Maximum bytes of one signature's content, after decompression; real content has a few hundred. */
const contentLimit = 256 * 1024;

interface Signer {
  readonly key: GpgKey;
  readonly signing: GpgSigningKey;
}

/**
 * Checks whether an item is a GPG simple signature of this image by one of the keys: containers-signature(5).
 * Keys and signatures that are revoked or expired at `now` do not count, nor do weak hashes. Pure; never
 * throws.
 */
export function checkGpgSignature(
  item: EvidenceItem,
  keys: readonly GpgKey[],
  subject: Subject,
  now: Date,
): SignatureFinding {
  const { bytes, refused } = bytesOf(item, sha256Digest);
  if (refused !== undefined) return refused;
  try {
    return judge(
      readSignedMessage(withoutFormat(bytes), contentLimit),
      keys,
      subject,
      Math.floor(now.getTime() / 1000),
    );
  } catch (error) {
    return malformed((error as Error).message);
  }
}

/**
 * Removes the name of the format. Newer tools may write it before the signature: a zero byte, the name, a
 * line feed (image library, FromBlob).
 */
function withoutFormat(bytes: Buffer): Buffer {
  if (bytes[0] !== 0) return bytes;
  const end = bytes.indexOf(0x0a);
  const format = bytes.subarray(1, end < 0 ? 1 : Math.min(end, 65)).toString('latin1');
  if (format !== 'simple-signing')
    throw new Error(`it is in the format ${JSON.stringify(format)}, not a simple signature`);
  return bytes.subarray(end + 1);
}

function judge(
  message: SignedMessage,
  keys: readonly GpgKey[],
  subject: Subject,
  now: number,
): SignatureFinding {
  const { signature, content, keyId } = message;
  const named = keys.flatMap((key) =>
    key.signing
      .filter((signing) => signing.keyId === keyId || signing.fingerprint.toLowerCase() === keyId)
      .map((signing) => ({ key, signing })),
  );
  if (named.length === 0)
    return {
      counted: false,
      code: 'TRUST_SIGNATURE_OTHER_KEY',
      says: `it was made by another key: it names the key ${keyId.toUpperCase()}`,
    };
  if (isWeakHash(signature.hash))
    return {
      counted: false,
      code: 'TRUST_SIGNATURE_WEAK',
      says: `its hash algorithm (${signature.hash}) is too weak`,
    };
  const signer = named.find(({ signing }) => verifyPacket(signature, signing, content));
  if (signer === undefined)
    return {
      counted: false,
      code: 'TRUST_SIGNATURE_WRONG',
      says: `the signature does not match its content and the key ${keyId.toUpperCase()}: one of them was changed`,
    };
  if (isShortHash(signature.hash, signer.signing.spki))
    return {
      counted: false,
      code: 'TRUST_SIGNATURE_WEAK',
      says: `its hash algorithm (${signature.hash}) has shorter digests than a signature by its key requires`,
    };
  return inTime(message, signer, now) ?? accept(message, signer, subject);
}

/** Returns why the key or the signature does not count at this time; undefined when it does. */
function inTime(
  { signature }: SignedMessage,
  { key, signing }: Signer,
  now: number,
): SignatureFinding | undefined {
  const refuse = (code: string, says: string, until?: number): SignatureFinding => ({
    counted: false,
    code,
    says: `the signature is valid, but ${says}`,
    ...(until === undefined ? {} : { validUntil: isoTime(until) }),
  });
  const holds = (revoked: Revocation | undefined): boolean =>
    revoked !== undefined && (revoked.always || revoked.at <= now);
  for (const { fingerprint, from, until, revoked } of [key, signing]) {
    if (holds(revoked)) return refuse('TRUST_KEY_REVOKED', `its key ${fingerprint} is revoked`);
    if (until !== undefined && now > until)
      return refuse('TRUST_KEY_EXPIRED', `its key ${fingerprint} expired at ${isoTime(until)}`);
    if (from > now)
      return refuse(
        'TRUST_KEY_NOT_YET',
        `its key ${fingerprint} was created in the future: ${isoTime(from)}`,
        from,
      );
  }
  const { created, lifetime } = signature;
  // As in gpg: the signer, or a clock, is wrong about the time.
  if (signing.created !== undefined && created < signing.created)
    return refuse(
      'TRUST_KEY_NOT_YET',
      `it was made at ${isoTime(created)}, before its key ${signing.fingerprint} was created`,
    );
  if (created > now)
    return refuse('TRUST_TIME_FUTURE', `it was made in the future: ${isoTime(created)}`, created);
  if (lifetime !== 0 && now > created + lifetime)
    return refuse('TRUST_SIGNATURE_EXPIRED', `it expired at ${isoTime(created + lifetime)}`);
  return undefined;
}

function accept(
  { content, signature }: SignedMessage,
  { key, signing }: Signer,
  subject: Subject,
): SignatureFinding {
  const payload = readPayload(content);
  const shown = payload.reference.slice(0, 255).replace(/[^\x20-\x7e]/g, '?');
  const finding = judgeDigests(
    [payload.digest],
    subject,
    `the signature by ${key.fingerprint}, made for ${shown},`,
  );
  if (!finding.counted) return finding;
  const ends = [
    key.until,
    signing.until,
    signature.lifetime === 0 ? undefined : signature.created + signature.lifetime,
    ...soon(key),
    ...soon(signing),
  ];
  const known = ends.filter((end) => end !== undefined);
  return {
    ...finding,
    ...(known.length === 0 ? {} : { validUntil: isoTime(smallest(known) + 1) }),
    proven: {
      signer: `gpg ${key.fingerprint}`,
      also: [signerOfSpki(signing.spki)],
      claimedReference: payload.reference,
      annotations: payload.optional,
      signedAt: { time: isoTime(signature.created), provenBy: 'signer' },
    },
  };
}

/** Returns the time of a revocation that is not yet in force. */
function soon({ revoked }: { readonly revoked?: Revocation }): readonly number[] {
  return revoked === undefined ? [] : [revoked.at - 1];
}

/** Converts seconds since 1970 to ISO 8601; every 32-bit time, and the sum of two, is valid. */
function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
