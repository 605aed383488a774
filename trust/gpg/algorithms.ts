import { createPublicKey } from 'node:crypto';

/**
 * Node's names of OpenPGP's hash algorithms (RFC 9580 section 9.5), the sizes of their digests, and whether a
 * signature of data may use them.
 */
const hashes: Readonly<
  Record<number, { readonly name: string; readonly bytes: number; readonly weak?: true }>
> = {
  1: { name: 'md5', bytes: 16, weak: true },
  2: { name: 'sha1', bytes: 20, weak: true },
  3: { name: 'ripemd160', bytes: 20, weak: true },
  8: { name: 'sha256', bytes: 32 },
  9: { name: 'sha384', bytes: 48 },
  10: { name: 'sha512', bytes: 64 },
  11: { name: 'sha224', bytes: 28 },
  12: { name: 'sha3-256', bytes: 32 },
  14: { name: 'sha3-512', bytes: 64 },
};

/** The smallest digests that keys may sign, in bytes (RFC 9580 sections 5.2.3.2 to 5.2.3.5), as in gpg. */
const smallestDigests: Readonly<Record<string, number>> = {
  prime256v1: 32,
  secp384r1: 48,
  secp521r1: 64,
  ed25519: 32,
  ed448: 64,
};

/** Public key algorithms that sign and that this version verifies (RFC 9580 section 9.1). */
export const keyAlgorithms = {
  rsa: 1,
  rsaSignOnly: 3,
  dsa: 17,
  ecdsa: 19,
  eddsaLegacy: 22,
  ed25519: 27,
  ed448: 28,
} as const;

/** Returns the name of a hash algorithm for node:crypto. @throws Error for an unknown algorithm */
export function hashName(id: number): string {
  const hash = hashes[id];
  if (hash === undefined) throw new Error(`hash algorithm ${id} is not supported`);
  return hash.name;
}

/**
 * Returns whether collisions of the hash are feasible. Such a hash proves nothing about data that another
 * party chose.
 */
export function isWeakHash(id: number): boolean {
  return hashes[id]?.weak === true;
}

/**
 * Returns whether the digests of the hash are too small for the key. Verifiers must reject such signatures of
 * data.
 * @param key SPKI, DER, base64
 */
export function isShortHash(id: number, key: string): boolean {
  const { asymmetricKeyType: type = '', asymmetricKeyDetails: details } = createPublicKey({
    key: Buffer.from(key, 'base64'),
    format: 'der',
    type: 'spki',
  });
  return (hashes[id]?.bytes ?? 0) < (smallestDigests[details?.namedCurve ?? type] ?? 0);
}
