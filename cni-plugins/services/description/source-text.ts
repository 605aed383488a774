import type { Problem } from '../../../base/schema/index.ts';
import type { FolderLimits, SourceText } from '../../followed-files/messages.ts';

/** Thousands of services in one file. */
const mostBytes = 32 * 1024 * 1024;

/** Of a folder that is followed. */
export const limits: FolderLimits = { file: mostBytes, folder: 128 * 1024 * 1024, files: 65_536 };

/** @param bytes of the file */
export function tooLarge(file: string, bytes: number): Problem | undefined {
  return bytes <= mostBytes ? undefined : problemOf(file, `the file is larger than ${mostBytes} bytes`, 'split it');
}

/** Its text, or that it is none: what would be read otherwise than its author wrote it. */
export function textOf(file: string, bytes: Uint8Array): SourceText | Problem {
  try {
    return { file, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    return problemOf(file, 'it is not UTF-8', 'write it as UTF-8');
  }
}

/** What comes of a file, a pipe or a device, of which no more is read than a file may have. @throws what reading throws */
export async function readText(file: string, chunks: AsyncIterable<Uint8Array>): Promise<SourceText | Problem> {
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
  return { position: { file, line: 1, column: 1 }, path: '', message, fix };
}
