import { createHash } from 'node:crypto';

/**
 * Returns the root of the Merkle tree that an inclusion proof leads to (RFC 9162 section 2.1.3.2), or
 * undefined when the proof does not fit a tree of that size.
 */
export function rootOfProof(
  leaf: Uint8Array,
  index: bigint,
  size: bigint,
  proof: readonly Buffer[],
): Buffer | undefined {
  if (index >= size) return undefined;
  let node = index;
  let last = size - 1n;
  let hash: Buffer = createHash('sha256').update(Buffer.of(0)).update(leaf).digest();
  for (const sibling of proof) {
    if (last === 0n || sibling.length !== 32) return undefined;
    if ((node & 1n) === 1n || node === last) {
      hash = pair(sibling, hash);
      while ((node & 1n) === 0n && node !== 0n) {
        node >>= 1n;
        last >>= 1n;
      }
    } else hash = pair(hash, sibling);
    node >>= 1n;
    last >>= 1n;
  }
  return last === 0n ? hash : undefined;
}

function pair(left: Buffer, right: Buffer): Buffer {
  return createHash('sha256').update(Buffer.of(1)).update(left).update(right).digest();
}
