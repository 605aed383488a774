import { constants, createHash, publicDecrypt } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { attempt } from '../../base/errors/index.ts';

/** DER of DigestInfo before the digest (RFC 8017 section 9.2, note 1). */
const digestInfo = {
  sha256: '3031300d060960864801650304020105000420',
  sha384: '3041300d060960864801650304020205000430',
  sha512: '3051300d060960864801650304020305000440',
} as const;

type RsaDigest = keyof typeof digestInfo;

/**
 * Verifies RSA over a digest without the message: PKCS #1 v1.5, else PSS with MGF1 of the same digest (RFC
 * 8017 sections 8.2.2 and 9.1.2).
 */
export function verifyRsaDigest(
  key: KeyObject,
  algorithm: RsaDigest,
  digest: Uint8Array,
  signature: Uint8Array,
): boolean {
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (signature.byteLength !== Math.ceil(bits / 8)) return false;
  const encoded = attempt(() => publicDecrypt({ key, padding: constants.RSA_NO_PADDING }, signature));
  if (encoded === undefined) return false;
  const tail = Buffer.concat([Buffer.from(digestInfo[algorithm], 'hex'), digest]);
  const padding = encoded.length - tail.length - 3;
  if (
    padding >= 8 &&
    encoded.equals(Buffer.concat([Buffer.of(0, 1), Buffer.alloc(padding, 0xff), Buffer.of(0), tail]))
  )
    return true;
  return isPss(encoded, algorithm, digest, bits - 1);
}

function isPss(encoded: Buffer, algorithm: RsaDigest, digest: Uint8Array, bits: number): boolean {
  const size = digest.byteLength;
  const length = Math.ceil(bits / 8);
  const message = encoded.subarray(encoded.length - length);
  if (encoded.length > length && encoded[0] !== 0) return false;
  if (message.length < 2 * size + 2 || message.at(-1) !== 0xbc) return false;
  const masked = message.subarray(0, length - size - 1);
  const hash = message.subarray(length - size - 1, length - 1);
  const unused = 8 * length - bits;
  if ((masked[0] ?? 0) >> (8 - unused) !== 0) return false;
  const mask = mgf1(hash, masked.length, algorithm);
  const block = Buffer.from(masked.map((byte, index) => byte ^ (mask[index] ?? 0)));
  block[0] = (block[0] ?? 0) & (0xff >> unused);
  const one = block.indexOf(1);
  // Any salt length is valid: the bytes before the one must all be zero.
  if (one < 0 || block.subarray(0, one).some((byte) => byte !== 0)) return false;
  const salt = block.subarray(one + 1);
  return createHash(algorithm).update(Buffer.alloc(8)).update(digest).update(salt).digest().equals(hash);
}

function mgf1(seed: Buffer, length: number, algorithm: RsaDigest): Buffer {
  const parts: Buffer[] = [];
  for (let made = 0, counter = 0; made < length; counter += 1) {
    const count = Buffer.alloc(4);
    count.writeUInt32BE(counter);
    const part = createHash(algorithm).update(seed).update(count).digest();
    parts.push(part);
    made += part.length;
  }
  return Buffer.concat(parts).subarray(0, length);
}
