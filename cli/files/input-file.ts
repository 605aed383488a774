import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';

/** The most that Node reads from a file at once. */
const mostBytes = 2 ** 31 - 1;

/**
 * Reads a file that a command was given.
 * @throws PortcullisError `CLI_FILE_UNREADABLE`
 */
export async function readInputFile(file: string): Promise<Buffer> {
  try {
    return await readGivenFile(file, mostBytes);
  } catch (error) {
    throw new PortcullisError({
      code: 'CLI_FILE_UNREADABLE',
      kind: 'invalid',
      attempted: 'read file',
      on: file,
      why: fileReason(error, file),
      fix: 'name a readable file',
    });
  }
}
