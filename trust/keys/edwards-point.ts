import type { KeyObject } from 'node:crypto';

interface EdwardsCurve {
  /** The prime of the field. */
  readonly prime: bigint;
  /** The y coordinates of the points whose order divides the cofactor. */
  readonly smallOrder: ReadonlySet<bigint>;
  /** Bytes of an encoded point. Its highest bit is the sign of x, and y is in the bits below it. */
  readonly bytes: number;
}

const prime25519 = 2n ** 255n - 19n;
const prime448 = 2n ** 448n - 2n ** 224n - 1n;

/** RFC 8032 sections 5.1 and 5.2. */
const curves = {
  ed25519: {
    prime: prime25519,
    bytes: 32,
    // Points of order 4, 1, 2 and 8. Two points of order 8 have the same y.
    smallOrder: new Set([
      0n,
      1n,
      prime25519 - 1n,
      0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
      0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
    ]),
  },
  // Points of order 4, 1 and 2.
  ed448: { prime: prime448, bytes: 57, smallOrder: new Set([0n, 1n, prime448 - 1n]) },
} satisfies Readonly<Record<string, EdwardsCurve>>;

/**
 * Returns why a public key must not be used, or undefined. Keys of other types than Ed25519 and Ed448 have no
 * flaw here.
 *
 * Anyone can make signatures for a key of small order, without a private key. Node 26.10 refuses such
 * signatures, while Node 20 and other software accept them. A key with a second encoding would count as two
 * signers.
 */
export function edwardsKeyFlaw(key: KeyObject): string | undefined {
  const type = key.asymmetricKeyType;
  if (type !== 'ed25519' && type !== 'ed448') return undefined;
  const { prime, smallOrder, bytes } = curves[type];
  // RFC 8410 section 4: the encoded point ends the SPKI. It is little-endian.
  const point = key.export({ type: 'spki', format: 'der' }).subarray(-bytes).reverse();
  const y = BigInt(`0x${point.toString('hex')}`) & (2n ** BigInt(bytes * 8 - 1) - 1n);
  if (smallOrder.has(y % prime))
    return 'its point has small order, and anyone can make signatures for such a key';
  return y < prime ? undefined : 'its point is not in its canonical encoding (RFC 8032)';
}
