import { tryPlainFile } from '../../base/files/index.ts';
import type { PlainFile } from '../../base/files/index.ts';

/** The text of a regular file, or why there is none. */
export type FileText = { readonly text: string } | Extract<PlainFile, { refused: unknown }>;

/** Reads at most `limit` bytes of a regular file as text. */
export async function readText(path: string, limit: number, encoding: 'utf8' | 'latin1'): Promise<FileText> {
  const read = await tryPlainFile(path, limit);
  return 'bytes' in read ? { text: read.bytes.toString(encoding) } : read;
}
