import { readFile } from 'node:fs/promises';
import { PortcullisError, reasonOf } from '../base/errors/index.ts';

/**
 * Reads a file that a command was given.
 * @throws PortcullisError `CLI_FILE_UNREADABLE`
 */
export async function readInputFile(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : reasonOf(error);
    throw new PortcullisError({
      code: 'CLI_FILE_UNREADABLE',
      kind: 'invalid',
      attempted: 'read file',
      on: file,
      why,
      fix: 'name a readable file',
    });
  }
}
