import { textOf as decode } from '../../../base/schema/index.ts';
import type { Problem } from '../../../base/schema/index.ts';
import type { FolderLimits, SourceText } from '../../followed-files/messages.ts';

/** Enough for thousands of services in one file. */
const mostBytes = 32 * 1024 * 1024;

/** Limits of a followed folder. */
export const limits: FolderLimits = { file: mostBytes, folder: 128 * 1024 * 1024, files: 65_536 };

/**
 * Returns the problem of a file that is larger than a description may be; undefined if the file is small
 * enough.
 * @param bytes size of the file
 */
export function tooLarge(file: string, bytes: number): Problem | undefined {
  return bytes <= mostBytes
    ? undefined
    : problemOf(file, `the file is larger than ${mostBytes} bytes`, 'split it');
}

/** Returns the text of a file, or a problem if it is not UTF-8. */
export function textOf(file: string, bytes: Uint8Array): SourceText | Problem {
  const read = decode(file, bytes);
  return 'text' in read ? { file, text: read.text } : read;
}

/** Reads a file, a pipe or a device, up to the size limit of a file. @throws what reading throws */
export async function readText(
  file: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<SourceText | Problem> {
  const read: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    const problem = tooLarge(file, bytes);
    if (problem !== undefined) return problem;
    read.push(chunk);
  }
  return textOf(file, Buffer.concat(read));
}

function problemOf(file: string, message: string, fix: string): Problem {
  return { position: { file, line: 1, column: 1 }, path: '', message, fix, hidesOthers: true };
}
