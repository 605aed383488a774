import { readFilePart, tryPlainFile } from '../../base/files/index.ts';
import type { FilePart, PlainFile } from '../../base/files/index.ts';

/** The text of a regular file, or why there is none. */
export type FileText = { readonly text: string } | Extract<PlainFile, { refused: unknown }>;

/** A {@link FilePart} as it crosses a process. */
export type FilePartText =
  | { readonly base64: string; readonly size: number }
  | Extract<FilePart, { refused: unknown }>;

/** Reads a part of a regular file. */
export async function readPartText(path: string, start: number, most: number): Promise<FilePartText> {
  const part = await readFilePart(path, start, most);
  if ('refused' in part) return part;
  return { base64: Buffer.from(part.bytes).toString('base64'), size: part.size };
}

/** Reads at most `limit` bytes of a regular file as text. */
export async function readText(path: string, limit: number, encoding: 'utf8' | 'latin1'): Promise<FileText> {
  const read = await tryPlainFile(path, limit);
  return 'bytes' in read ? { text: read.bytes.toString(encoding) } : read;
}
