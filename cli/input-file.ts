import { readFile } from 'node:fs/promises';
import { PortcullisError, fileReason } from '../base/errors/index.ts';

/**
 * Reads a file that a command was given.
 * @throws PortcullisError `CLI_FILE_UNREADABLE`
 */
export async function readInputFile(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
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
