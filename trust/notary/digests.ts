import { hash } from 'node:crypto';

/** Hexadecimal. */
export interface Digests {
  readonly sha256: string;
  readonly sha512: string;
}

/** A publish asks for those of one file up to three times: to keep it, to name it in the snapshot, and for what stands at each publish again. */
const known = new WeakMap<Buffer, Digests>();

/** Digests of a file's bytes, which must not change afterwards: the same buffer is hashed once. */
export function digestsOf(bytes: Buffer): Digests {
  let digests = known.get(bytes);
  if (digests === undefined) {
    digests = { sha256: hash('sha256', bytes), sha512: hash('sha512', bytes) };
    known.set(bytes, digests);
  }
  return digests;
}
