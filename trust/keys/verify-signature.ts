import { constants, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { PolicyKey } from '../types.ts';
import { keyObjectOf } from './public-key.ts';

/**
 * The digests tried for an ECDSA key, by curve. `cosign verify --key` takes SHA-256 for each curve, while `cosign sign --key`
 * (v3) takes the curve's own: both must verify. Trying two digests is no weakness: each binds the whole message.
 */
const ecdsaDigests: Readonly<Record<string, readonly string[]>> = {
  prime256v1: ['sha256'],
  secp384r1: ['sha384', 'sha256'],
  secp521r1: ['sha512', 'sha256'],
};

/**
 * Whether `signature` is the key's over `message`. ECDSA: DER (RFC 3279), Ed25519: pure (RFC 8032), RSA: PKCS #1 v1.5, else PSS,
 * with SHA-256. Never throws: a malformed signature is a wrong one.
 */
export function verifySignature(key: PolicyKey, message: Uint8Array, signature: Uint8Array): boolean {
  const object = keyObjectOf(key);
  try {
    switch (key.type) {
      case 'ecdsa':
        return (ecdsaDigests[object.asymmetricKeyDetails?.namedCurve ?? ''] ?? []).some((digest) =>
          verify(digest, message, object, signature),
        );
      case 'ed25519':
        // A digest name here throws: Ed25519 hashes by itself.
        return verify(null, message, object, signature);
      case 'rsa':
        return verifyRsa(object, message, signature);
    }
  } catch {
    return false;
  }
}

function verifyRsa(key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  // A key whose own type is RSASSA-PSS may do nothing else (RFC 4055); its parameters come with the key.
  if (key.asymmetricKeyType === 'rsa-pss') return verify('sha256', message, key, signature);
  if (verify('sha256', message, { key, padding: constants.RSA_PKCS1_PADDING }, signature)) return true;
  return verify(
    'sha256',
    message,
    { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO },
    signature,
  );
}
