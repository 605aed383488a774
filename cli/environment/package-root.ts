import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Returns the folder that holds packaging/, both from a source file and from dist/. */
export function packageRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'packaging/debian-packages')) && folder !== '/') folder = dirname(folder);
  return folder;
}
