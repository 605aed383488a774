import { childrenOf, derTag, DerError, expectTag } from './der.ts';
import { readStrict } from './der-strict.ts';
import { readInteger } from './der-values.ts';
import { integer, sequence } from './der-writer.ts';

/** Bytes of a coordinate of a curve, and of each half of its raw signatures (SEC 1, section 2.3.5). */
export const curveBytes: Readonly<Record<string, number>> = { prime256v1: 32, secp384r1: 48, secp521r1: 66 };

/**
 * Converts an ECDSA signature in DER (RFC 3279 section 2.2.3) to r and s side by side, as JWS, COSE, PKCS #11
 * and Notary have it (RFC 7518 section 3.4).
 * @param size bytes of each half: {@link curveBytes}
 * @throws DerError
 */
export function rawOfEcdsaSignature(signature: Uint8Array, size: number): Buffer {
  const numbers = childrenOf(expectTag(readStrict(signature), derTag.sequence, 'the signature'), 3);
  if (numbers.length !== 2) throw new DerError('the signature does not have two numbers', 0);
  return Buffer.concat(
    numbers.map((number) => {
      const content = readInteger(number, 'a number of the signature');
      const digits = content[0] === 0 ? content.subarray(1) : content;
      if ((content[0] ?? 0) >= 0x80 || digits.length > size)
        throw new DerError('a number of the signature is out of range', number.offset);
      return Buffer.concat([Buffer.alloc(size - digits.length), digits]);
    }),
  );
}

/** Converts r and s side by side to DER. @param raw two halves of one length */
export function derOfEcdsaSignature(raw: Uint8Array): Buffer {
  const half = raw.length / 2;
  return sequence(integer(raw.subarray(0, half)), integer(raw.subarray(half)));
}
