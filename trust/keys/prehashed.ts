import type { KeyObject } from 'node:crypto';
import { ed25519ph } from '@noble/curves/ed25519.js';
import { p256, p384, p521 } from '@noble/curves/nist.js';

/**
 * Verifies Ed25519ph (RFC 8032 section 5.1) over the message's SHA-512, without context, as cosign v3 signs
 * with Ed25519 keys. Node offers pure Ed25519 only. Strict (FIPS 186-5), not ZIP 215.
 */
export function verifyEd25519ph(key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  const point = Buffer.from(String(key.export({ format: 'jwk' }).x), 'base64url');
  return ed25519ph.verify(signature, message, point, { zip215: false });
}

/** Signs with Ed25519ph, in the form that {@link verifyEd25519ph} reads. */
export function signEd25519ph(key: KeyObject, message: Uint8Array): Buffer {
  const seed = Buffer.from(String(key.export({ format: 'jwk' }).d), 'base64url');
  try {
    return Buffer.from(ed25519ph.sign(message, seed));
  } finally {
    seed.fill(0);
  }
}

const curves = { prime256v1: p256, secp384r1: p384, secp521r1: p521 } as const;

/** Verifies ECDSA (DER) over a digest without the message: Node's verify always hashes the message itself. */
export function verifyEcdsaDigest(key: KeyObject, digest: Uint8Array, signature: Uint8Array): boolean {
  const name = key.asymmetricKeyDetails?.namedCurve ?? '';
  const curve = Object.hasOwn(curves, name) ? curves[name as keyof typeof curves] : undefined;
  if (curve === undefined) return false;
  const { x, y } = key.export({ format: 'jwk' });
  const point = Buffer.concat([
    Buffer.of(4),
    Buffer.from(String(x), 'base64url'),
    Buffer.from(String(y), 'base64url'),
  ]);
  return curve.verify(signature, digest, point, { prehash: false, lowS: false, format: 'der' });
}
