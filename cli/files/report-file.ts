import { access, constants, realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { makeFolder, writeFileAtomic } from '../../base/storage/index.ts';

/**
 * Makes the folders of a report and checks that it can be written, before the work that it reports. Follows a
 * symbolic link, so that it stays one.
 * @returns the path to write to
 * @throws PortcullisError `CLI_REPORT_UNWRITABLE`
 */
export async function prepareReport(file: string): Promise<string> {
  const unwritable = (why: string): PortcullisError =>
    new PortcullisError({
      code: 'CLI_REPORT_UNWRITABLE',
      kind: 'invalid',
      attempted: 'write report',
      on: file,
      why,
      fix: 'name a file in a folder that this user may write to, or - for standard output',
    });
  const path = await realpath(file).catch(() => resolve(file));
  const found = await stat(path).catch(() => undefined);
  // The file is replaced. A device or a pipe must not be.
  if (found?.isFile() === false) throw unwritable('it is not a regular file');
  try {
    await makeFolder(dirname(path), 0o755);
    await access(dirname(path), constants.W_OK);
  } catch (error) {
    throw unwritable(fileReason(error, dirname(path)));
  }
  return path;
}

/**
 * Writes a report completely or not at all, over an earlier one.
 * @throws PortcullisError `STORAGE_DISK_FULL`, `STORAGE_READ_ONLY`, `STORAGE_NO_ACCESS`, `STORAGE_IO`
 */
export async function writeReport(path: string, content: string): Promise<void> {
  await writeFileAtomic(path, content, { mode: 0o644 });
}
