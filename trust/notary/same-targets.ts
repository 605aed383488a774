import { readMetadata } from '../tuf/metadata/read.ts';
import type { Dialect } from '../tuf/metadata/model.ts';

/**
 * Whether both dialects' files sign the same digests for the same names, whichever roles sign them.
 * @returns a name about which they differ, or undefined
 */
export function differentTarget(notary: ReadonlyMap<string, Buffer>, tuf: ReadonlyMap<string, Buffer>): string | undefined {
  const [a, b] = [signedTargets('notary', notary), signedTargets('tuf', tuf)];
  for (const [path, digests] of a) if (b.get(path) !== digests) return path;
  for (const path of b.keys()) if (!a.has(path)) return path;
  return undefined;
}

function signedTargets(dialect: Dialect, files: ReadonlyMap<string, Buffer>): Map<string, string> {
  const found = new Map<string, Set<string>>();
  for (const [role, bytes] of files) {
    if (role === 'root' || role === 'snapshot' || role === 'timestamp') continue;
    for (const [path, { hashes, length }] of readMetadata(dialect, 'targets', bytes).signed.targets) {
      const digests = found.get(path) ?? new Set<string>();
      digests.add(`${hashes['sha256'] ?? ''} ${length}`);
      found.set(path, digests);
    }
  }
  return new Map([...found].map(([path, digests]) => [path, [...digests].sort().join(',')]));
}
