/**
 * Node's names of OpenPGP's hash algorithms (RFC 9580 section 9.5), and whether a signature of data may use
 * them.
 */
const hashes: Readonly<Record<number, { readonly name: string; readonly weak?: true }>> = {
  1: { name: 'md5', weak: true },
  2: { name: 'sha1', weak: true },
  3: { name: 'ripemd160', weak: true },
  8: { name: 'sha256' },
  9: { name: 'sha384' },
  10: { name: 'sha512' },
  11: { name: 'sha224' },
  12: { name: 'sha3-256' },
  14: { name: 'sha3-512' },
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
