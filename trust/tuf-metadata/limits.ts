/**
 * Bounds on the content of a metadata file before any signature is checked. Real repositories stay far below:
 * the roots of python-tuf and sigstore have about five keys, PyPI's plan (PEP 458, PEP 480) has one key for
 * each project beneath hashed bins, Notary's roles have a few. Targets, and delegations that share keys, are
 * bounded only by the size of the file.
 */

/** Signatures of one file. */
export const mostSignatures = 1024;
/** Key ids of one role. */
export const mostKeysOfRole = 1024;
/** Keys listed by a root, or by the delegations of one role. */
export const mostKeys = 16_384;
/**
 * Bytes hashed to verify one file: the complete file for each key that is tried, so 64 keys of a file of 64
 * MiB.
 */
export const mostHashedBytes = 4 * 1024 ** 3;
/** Characters of a path pattern, and of a path matched against one (PATH_MAX of Linux). */
export const mostPatternLength = 4096;

/** Refuses a list with too many entries. @throws Error with a sentence */
export function refuseMoreThan(most: number, count: number, at: string): void {
  if (count > most) throw new Error(`${at} has ${count} entries; at most ${most} are read`);
}

/** Returns the first name that occurs a second time. */
export function firstTwice(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}
