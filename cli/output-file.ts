import { rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isPortcullisError, PortcullisError, reasonOf } from '../base/errors/index.ts';
import { makeFolder } from '../base/storage/index.ts';

/**
 * Writes a file that a command makes, with the folders that it needs; what is there already is never overwritten.
 * @param mode of the file; everybody may read it unless told
 * @throws PortcullisError `CLI_FILE_UNWRITABLE`, and what the content itself throws
 */
export async function writeNewFile(
  file: string,
  content: string | Iterable<string>,
  { mode = 0o644, fix = 'name another place by --out' }: { readonly mode?: number; readonly fix?: string } = {},
): Promise<void> {
  try {
    makeFolder(dirname(file), 0o755);
    await writeFile(file, content, { flag: 'wx', mode });
  } catch (error) {
    const exists = (error as NodeJS.ErrnoException).code === 'EEXIST';
    // Half a file would stand in the way of the next try.
    if (!exists) await rm(file, { force: true }).catch(() => undefined);
    if (isPortcullisError(error)) throw error;
    throw new PortcullisError({
      code: 'CLI_FILE_UNWRITABLE',
      kind: exists ? 'invalid' : 'precondition',
      attempted: 'write file',
      on: file,
      why: exists ? 'it exists already, and nothing is overwritten' : reasonOf(error),
      fix,
      cause: error,
    });
  }
}
