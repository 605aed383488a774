import { readdir, stat } from 'node:fs/promises';

/**
 * Returns a string that changes when a file changes: identity, size and times of each file, and the names in
 * each folder.
 */
export async function signatureOfFiles(paths: readonly string[]): Promise<string> {
  const parts: string[] = [];
  for (const path of paths) {
    try {
      const facts = await stat(path, { bigint: true });
      parts.push(
        facts.isDirectory()
          ? `${path} ${(await readdir(path)).sort().join('/')}`
          : `${path} ${facts.dev}:${facts.ino} ${facts.size} ${facts.mtimeNs} ${facts.ctimeNs}`,
      );
    } catch (error) {
      parts.push(`${path} ${String((error as NodeJS.ErrnoException).code)}`);
    }
  }
  return parts.join('\n');
}
