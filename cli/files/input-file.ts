import { PortcullisError, fileReason, reasonOf } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';

/** The most that Node reads from a file at once. */
const mostBytes = 2 ** 31 - 1;

/**
 * Reads a file that a command was given.
 * @param limit in bytes
 * @throws PortcullisError `CLI_FILE_UNREADABLE`
 */
export async function readInputFile(file: string, limit = mostBytes): Promise<Buffer> {
  try {
    return await readGivenFile(file, limit);
  } catch (error) {
    throw new PortcullisError({
      code: 'CLI_FILE_UNREADABLE',
      kind: 'invalid',
      attempted: 'read file',
      on: file,
      why: fileReason(error, file),
      fix: limit < mostBytes ? `name a readable file of at most ${limit} bytes` : 'name a readable file',
    });
  }
}

/**
 * Reads standard input to its end: a pipe, a file or a socket.
 * @param limit in bytes
 * @throws PortcullisError `CLI_FILE_UNREADABLE`
 */
export async function readStandardInput(limit: number): Promise<Buffer> {
  const unreadable = (why: string): PortcullisError =>
    new PortcullisError({
      code: 'CLI_FILE_UNREADABLE',
      kind: 'invalid',
      attempted: 'read standard input',
      on: '',
      why,
      fix: 'pipe the text into the command, or name a file',
    });
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > limit) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw unreadable(reasonOf(error));
  }
  if (size > limit) throw unreadable(`it is larger than ${limit} bytes`);
  return Buffer.concat(chunks, size);
}
