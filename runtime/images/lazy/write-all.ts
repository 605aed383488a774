import type { FileHandle } from 'node:fs/promises';

/**
 * Writes all bytes at a place in a file. If the disk accepts only a part, the write of the rest fails with
 * the reason.
 */
export async function writeAll(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done);
    done += bytesWritten;
  }
}
