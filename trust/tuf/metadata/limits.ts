/**
 * Bounds on what one file of metadata may hold before any signature is checked. Real repositories stay far below: python-tuf's and
 * sigstore's roots have some five keys, PyPI's plan (PEP 458, PEP 480) has one key for each project beneath hashed bins, Notary's
 * roles have a few. Targets, and delegations that share keys, are bounded by the size of the file alone.
 */

/** Signatures of one file. */
export const mostSignatures = 1024;
/** Key ids that one role names. */
export const mostKeysOfRole = 1024;
/** Keys that a root, or the delegations of one role, list. */
export const mostKeys = 16_384;
/** Bytes that are hashed to verify one file: the whole of it for each key that is tried, 64 keys of a file of 64 MiB. */
export const mostHashedBytes = 4 * 1024 ** 3;
/** Characters of a path pattern, and of a path that is held against one (PATH_MAX of Linux). */
export const mostPatternLength = 4096;

/** @throws Error with a sentence */
export function refuseMoreThan(most: number, count: number, at: string): void {
  if (count > most) throw new Error(`${at} has ${count} entries; at most ${most} are read`);
}

/** The first that occurs a second time. */
export function firstTwice(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}
