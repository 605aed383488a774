import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** The text of a regular file, or why there is none. */
export type FileText = { readonly text: string } | { readonly refused: 'not a plain file' | 'too large' };

/**
 * Reads at most `limit` bytes of a regular file. Refuses a FIFO, which would block at opening, and a device,
 * which has no end.
 */
export async function readText(path: string, limit: number, encoding: 'utf8' | 'latin1'): Promise<FileText> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = await file.stat();
    if (!stats.isFile()) return { refused: 'not a plain file' };
    let bytes = Buffer.alloc(Math.min(stats.size, limit) + 1);
    let size = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, size, bytes.length - size, size);
      size += bytesRead;
      if (bytesRead === 0 || size > limit) break;
      // The file has grown, or reports no size, like a file of /proc.
      if (size === bytes.length) bytes = Buffer.concat([bytes], Math.min(bytes.length * 2 + 4096, limit + 1));
    }
    return size > limit ? { refused: 'too large' } : { text: bytes.toString(encoding, 0, size) };
  } finally {
    await file.close();
  }
}
