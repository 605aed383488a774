import { hash } from 'node:crypto';

/** Hexadecimal. */
export interface Digests {
  readonly sha256: string;
  readonly sha512: string;
}

/**
 * A publish needs the digests of one file up to three times: to store it, to name it in the snapshot, and
 * again at each later publish for a current file.
 */
const known = new WeakMap<Buffer, Digests>();

/**
 * Returns the digests of a file's bytes, which must not change afterwards: the same buffer is hashed only
 * once.
 */
export function digestsOf(bytes: Buffer): Digests {
  let digests = known.get(bytes);
  if (digests === undefined) {
    digests = { sha256: hash('sha256', bytes), sha512: hash('sha512', bytes) };
    known.set(bytes, digests);
  }
  return digests;
}
