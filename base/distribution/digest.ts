import { createHash, hash } from 'node:crypto';
import type { Hash } from 'node:crypto';

/** Registered algorithms (image-spec, descriptor.md#digests) and the length of their hex digits. */
const hexLength = { sha256: 64, sha512: 128 } as const;
export type DigestAlgorithm = keyof typeof hexLength;

/** Splits `sha256:<64 hex>` or `sha512:<128 hex>`; undefined for other text. */
export function splitDigest(
  digest: string,
): { readonly algorithm: DigestAlgorithm; readonly hex: string } | undefined {
  const match = /^(sha256|sha512):([0-9a-f]+)$/.exec(digest);
  const algorithm = match?.[1] as DigestAlgorithm | undefined;
  const hex = match?.[2];
  if (algorithm === undefined || hex === undefined || hex.length !== hexLength[algorithm]) return undefined;
  return { algorithm, hex };
}

/** Returns whether a text is a sha256 or sha512 digest, in the form that {@link splitDigest} takes. */
export function isDigest(text: string): boolean {
  return splitDigest(text) !== undefined;
}

/** Returns the digest of bytes, such as `sha256:…`. */
export function digestOf(bytes: Uint8Array | string, algorithm: DigestAlgorithm = 'sha256'): string {
  return `${algorithm}:${hash(algorithm, bytes, 'hex')}`;
}

/** Returns a hash that takes content piece by piece. */
export function startDigest(algorithm: DigestAlgorithm): Hash {
  return createHash(algorithm);
}
