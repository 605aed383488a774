import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { PackageFile } from '../archives/files.ts';

/**
 * Writes files below a folder, with modes that do not depend on the umask.
 * @param folders empty folders
 */
export function writeTree(root: string, files: readonly PackageFile[], folders: readonly string[]): void {
  const made = new Set<string>();
  const makeFolder = (path: string): void => {
    if (made.has(path)) return;
    made.add(path);
    if (path !== root) makeFolder(dirname(path));
    mkdirSync(path, { recursive: true });
    chmodSync(path, 0o755);
  };
  for (const folder of folders) makeFolder(join(root, folder));
  for (const { path, content } of files) {
    const file = join(root, path);
    makeFolder(dirname(file));
    if ('target' in content) symlinkSync(content.target, file);
    else {
      writeFileSync(file, content.bytes);
      chmodSync(file, content.executable ? 0o755 : 0o644);
    }
  }
}
