import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/**
 * Reads a regular file as UTF-8. A FIFO, on which an opening would wait, and a device without an end are refused. The call reads
 * at most `limit` + 1 bytes, whatever size the file reports.
 * @param limit in bytes
 * @throws Error when the path is not a regular file or holds more than `limit` bytes; the system's error when it cannot be read
 */
export function readPlainFile(path: string, limit: number): string {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw new Error('it is not a regular file');
    const chunks: Buffer[] = [];
    let size = 0;
    // A file of /proc reports a size of 0, and any file can grow while it is read.
    for (let wanted = Math.min(stats.size, limit) + 1; ; wanted = Math.min(4_096, limit + 1 - size)) {
      const chunk = Buffer.allocUnsafe(wanted);
      const read = readSync(descriptor, chunk, 0, wanted, null);
      chunks.push(chunk.subarray(0, read));
      size += read;
      if (size > limit) throw new Error(`it is larger than ${limit} bytes`);
      if (read === 0) return Buffer.concat(chunks, size).toString('utf8');
    }
  } finally {
    closeSync(descriptor);
  }
}
