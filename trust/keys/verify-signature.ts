import { constants, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { PolicyKey } from '../requirements/types.ts';
import { prehashed } from './prehash.ts';
import { keyObjectOf } from './public-key.ts';
import { verifyRsaDigest } from './rsa-digest.ts';

type Digest = 'sha256' | 'sha384' | 'sha512';

/**
 * The digests to try for an ECDSA key, by curve. `cosign verify --key` uses SHA-256 for each curve, while
 * `cosign sign --key` (v3) uses the digest of the curve: both must verify. Trying two digests is not a
 * weakness, because each binds the whole message.
 */
const ecdsaDigests: Readonly<Record<string, readonly Digest[]>> = {
  prime256v1: ['sha256'],
  secp384r1: ['sha384', 'sha256'],
  secp521r1: ['sha512', 'sha256'],
};

/** Like {@link verifyWithKey}, for a policy's key. */
export function verifySignature(key: PolicyKey, message: Uint8Array, signature: Uint8Array): boolean {
  return verifyWithKey(keyObjectOf(key), message, signature);
}

/**
 * Whether `signature` is a signature by the key over `message`. ECDSA: DER (RFC 3279), Ed25519: pure, else
 * prehashed (RFC 8032), RSA: PKCS #1 v1.5, else PSS, with SHA-256, ML-DSA: pure, with an empty context (FIPS
 * 204, section 5.3). Never throws: a malformed signature counts
 * as a wrong one. Ed25519ph needs `loadPrehashed` first.
 */
export function verifyWithKey(key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    switch (key.asymmetricKeyType) {
      case 'ec':
        return digestsOf(key).some((digest) => verify(digest, message, key, signature));
      case 'ed25519':
        // A digest name here would throw: Ed25519 hashes the message itself. The two forms have different
        // domains, so that neither is mistaken for the other.
        return (
          verify(null, message, key, signature) ||
          prehashed()?.verifyEd25519ph(key, message, signature) === true
        );
      case 'rsa':
      case 'rsa-pss':
        return verifyRsa(key, message, signature);
      case 'ml-dsa-44':
      case 'ml-dsa-65':
      case 'ml-dsa-87':
        return verify(null, message, key, signature);
      default:
        return false;
    }
  } catch {
    return false;
  }
}

/**
 * Whether `signature` is a signature by the key over a message of which only the digest is available (bytes,
 * by algorithm). Ed25519 signatures of either form, and ML-DSA signatures, cannot be checked this way. Never
 * throws. ECDSA needs `loadPrehashed` first.
 */
export function verifyDigestWithKey(
  key: KeyObject,
  digest: { readonly algorithm: Digest; readonly value: Uint8Array },
  signature: Uint8Array,
): boolean {
  try {
    switch (key.asymmetricKeyType) {
      case 'ec':
        return (
          digestsOf(key).includes(digest.algorithm) &&
          prehashed()?.verifyEcdsaDigest(key, digest.value, signature) === true
        );
      case 'rsa':
        return (
          digest.algorithm === 'sha256' && verifyRsaDigest(key, digest.algorithm, digest.value, signature)
        );
      default:
        return false;
    }
  } catch {
    return false;
  }
}

function digestsOf(key: KeyObject): readonly Digest[] {
  return ecdsaDigests[key.asymmetricKeyDetails?.namedCurve ?? ''] ?? [];
}

function verifyRsa(key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  // A key of type RSASSA-PSS is valid for nothing else (RFC 4055). Its parameters are part of the key.
  if (key.asymmetricKeyType === 'rsa-pss') return verify('sha256', message, key, signature);
  if (verify('sha256', message, { key, padding: constants.RSA_PKCS1_PADDING }, signature)) return true;
  return verify(
    'sha256',
    message,
    { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO },
    signature,
  );
}
