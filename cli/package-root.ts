import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The folder that holds packaging/, from a source file or from dist/. */
export function packageRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'packaging/debian-packages')) && folder !== '/') folder = dirname(folder);
  return folder;
}
