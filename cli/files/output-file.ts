import { rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PortcullisError, fileReason, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { makeFolder } from '../../base/storage/index.ts';

/**
 * Writes a file that a command makes, with the folders that it needs. Never overwrites an existing file.
 * @param mode mode of the file; default: every user may read it
 * @throws PortcullisError `CLI_FILE_UNWRITABLE`, and what the content itself throws
 */
export async function writeNewFile(
  file: string,
  content: string | Iterable<string>,
  {
    mode = 0o644,
    fix = 'name another place with --out',
  }: { readonly mode?: number; readonly fix?: string } = {},
): Promise<void> {
  const unwritable = (
    why: string,
    cause: unknown,
    kind: 'invalid' | 'precondition' = 'precondition',
  ): PortcullisError =>
    new PortcullisError({
      code: 'CLI_FILE_UNWRITABLE',
      kind,
      attempted: 'write file',
      on: file,
      why,
      fix,
      cause,
    });
  try {
    await makeFolder(dirname(file), 0o755);
  } catch (error) {
    throw unwritable(reasonOf(error), error);
  }
  try {
    await writeFile(file, content, { flag: 'wx', mode });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST')
      throw unwritable('it exists already, and nothing is overwritten', error, 'invalid');
    // A partial file would block the next attempt.
    await rm(file, { force: true }).catch(() => undefined);
    throw isPortcullisError(error) ? error : unwritable(fileReason(error, file), error);
  }
}
