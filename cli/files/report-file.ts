import { access, constants, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { makeFolder, writeFileAtomic } from '../../base/storage/index.ts';

/**
 * Makes the folders of a report, or of another file that a command makes, and checks that it can be written,
 * before the work that it is for. Follows a symbolic link, so that it stays one.
 * @returns the path for {@link writeReport}
 * @throws PortcullisError `CLI_REPORT_UNWRITABLE`
 */
export async function prepareReport(
  file: string,
  fix = 'name a file in a folder that this user may write to',
): Promise<string> {
  const path = await realpath(file).catch(() => resolve(file));
  const found = await stat(path).catch(() => undefined);
  // The file is replaced. A device or a pipe must not be.
  if (found?.isFile() === false) throw unwritable(file, 'it is not a regular file', fix);
  try {
    await makeFolder(dirname(path), 0o755);
    await access(dirname(path), constants.W_OK);
    return join(await realpath(dirname(path)), basename(path));
  } catch (error) {
    throw unwritable(file, fileReason(error, dirname(path)), fix);
  }
}

/**
 * Prepares each report as {@link prepareReport} does; `-` stays itself.
 * @throws PortcullisError `CLI_REPORT_UNWRITABLE`, also if two reports would be written to one file
 */
export async function prepareReports<T extends { readonly file: string }>(
  reports: readonly T[],
): Promise<readonly (T & { readonly path: string })[]> {
  const prepared = new Map<string, T & { readonly path: string }>();
  for (const report of reports) {
    const fix = 'name a file in a folder that this user may write to, or - for standard output';
    const path = report.file === '-' ? '-' : await prepareReport(report.file, fix);
    if (prepared.has(path))
      throw unwritable(
        report.file,
        'another report of this run has the same file',
        'name a different file for each report',
      );
    prepared.set(path, { ...report, path });
  }
  return [...prepared.values()];
}

function unwritable(on: string, why: string, fix: string): PortcullisError {
  const failure = { code: 'CLI_REPORT_UNWRITABLE', kind: 'invalid', attempted: 'write file' } as const;
  return new PortcullisError({ ...failure, on, why, fix });
}

/**
 * Writes a file that is prepared completely or not at all, over an earlier one.
 * @throws PortcullisError `STORAGE_DISK_FULL`, `STORAGE_READ_ONLY`, `STORAGE_NO_ACCESS`, `STORAGE_IO`
 */
export async function writeReport(path: string, content: string | Uint8Array): Promise<void> {
  await writeFileAtomic(path, content, { mode: 0o644 });
}
