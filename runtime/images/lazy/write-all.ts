import type { FileHandle } from 'node:fs/promises';

/** Writes all bytes at a place in a file. A disk that takes only a part gives its reason for the rest. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done);
    done += bytesWritten;
  }
}
