import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';

/**
 * Returns each package whose types the declarations need, as `FILE: PACKAGE`. They begin with the files
 * `entries` and follow their imports.
 */
export function packagesOfTypes(folder: string, entries: readonly string[]): string[] {
  const files = new Set(entries.map((entry) => join(folder, entry)));
  const found = new Set<string>();
  for (const file of files)
    for (const { fileName } of ts.preProcessFile(readFileSync(file, 'utf8')).importedFiles)
      if (fileName.startsWith('.'))
        files.add(join(dirname(file), fileName.replace(/\.(?:[jt]s)$/u, '.d.ts')));
      else if (!fileName.startsWith('node:')) found.add(`${relative(folder, file)}: ${fileName}`);
  return [...found].sort();
}
