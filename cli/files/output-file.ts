import { randomUUID } from 'node:crypto';
import { lstat, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PortcullisError, fileReason, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { giveNewName, makeFolder, syncFolder } from '../../base/storage/index.ts';

/**
 * Writes a file that a command makes, with the folders that it needs. The file appears only when it is
 * complete. Never overwrites an existing file.
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
  const exists = (cause?: unknown): PortcullisError =>
    unwritable('it exists already, and nothing is overwritten', cause, 'invalid');
  // Before the content is made, which may take long.
  if ((await lstat(file).catch(() => undefined)) !== undefined) throw exists();
  // A partial file would look like a complete one, and block the next attempt.
  const partial = `${file}.${randomUUID()}.part`;
  try {
    await writeFile(partial, content, { flag: 'wx', mode, flush: true });
    await giveNewName(partial, file);
    await syncFolder(dirname(file));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw exists(error);
    throw isPortcullisError(error) ? error : unwritable(fileReason(error, file), error);
  } finally {
    await rm(partial, { force: true }).catch(() => undefined);
  }
}
