import { createHash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { LRUCache } from 'lru-cache';

/** The result of a pure function: the value that it returned or the error that it threw. */
type Kept<T> = { readonly answer: T } | { readonly thrown: unknown };

/**
 * Creates a memory for a pure function. Each distinct question is computed once, however many rules,
 * namespaces and containers ask it. A thrown error is remembered and thrown again. Questions are identified
 * by the digest of their parts. Do not use it for a function that depends on time.
 * @param max number of results kept
 * @param maxSize most bytes that the questions of all kept results had, for results about as large as their
 * question. Absent: results are small.
 */
export function createMemory<T>(
  max: number,
  maxSize?: number,
): (parts: readonly (string | Uint8Array)[], compute: () => T) => T {
  const kept = new LRUCache<string, Kept<T>>({ max, ...(maxSize === undefined ? {} : { maxSize }) });
  return (parts, compute) => {
    const hash = createHash('sha256');
    let size = 1;
    for (const part of parts) {
      hash.update(`${part.length}:`).update(part);
      size += part.length;
    }
    const key = hash.digest('base64');
    let known = kept.get(key);
    if (known === undefined) {
      try {
        known = { answer: compute() };
      } catch (thrown) {
        known = { thrown };
      }
      kept.set(key, known, maxSize === undefined ? {} : { size });
    }
    if ('thrown' in known) throw known.thrown;
    return known.answer;
  };
}

const names = new WeakMap<KeyObject, string>();

/** Names a key by its content: the digest of its SPKI, base64. */
export function nameOfKey(key: KeyObject): string {
  let name = names.get(key);
  if (name === undefined) {
    name = createHash('sha256')
      .update(key.export({ type: 'spki', format: 'der' }))
      .digest('base64');
    names.set(key, name);
  }
  return name;
}

let verifications = 0;

/** Counts a completely verified signature, or adds the count of another thread of this process. */
export function countVerifications(more = 1): void {
  verifications += more;
}

/**
 * Returns how many signatures and attestations this process has verified completely. For metrics and tests.
 */
export function bundleVerifications(): number {
  return verifications;
}
