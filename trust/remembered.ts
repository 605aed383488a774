import { createHash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { LRUCache } from 'lru-cache';

/** What a pure function answered or threw. */
type Kept<T> = { readonly answer: T } | { readonly thrown: unknown };

/**
 * A memory for a pure function: each different question is computed once, however many rules, namespaces and containers ask it, and what it
 * threw is thrown again. Questions are told apart by the digest of their parts. What depends on time must not be asked this way.
 * @param max answers kept
 */
export function createMemory<T>(max: number): (parts: readonly (string | Uint8Array)[], compute: () => T) => T {
  const kept = new LRUCache<string, Kept<T>>({ max });
  return (parts, compute) => {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(`${part.length}:`).update(part);
    const key = hash.digest('base64');
    let known = kept.get(key);
    if (known === undefined) {
      try {
        known = { answer: compute() };
      } catch (thrown) {
        known = { thrown };
      }
      kept.set(key, known);
    }
    if ('thrown' in known) throw known.thrown;
    return known.answer;
  };
}

const names = new WeakMap<KeyObject, string>();

/** A key by its content: the digest of its SPKI, base64. */
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

/** Counts a signature that was verified with all that belongs to it, or adds what another thread of this process has. */
export function countVerifications(more = 1): void {
  verifications += more;
}

/** How many signatures and attestations this process has verified, each with all that belongs to it: for metrics and tests. */
export function bundleVerifications(): number {
  return verifications;
}
