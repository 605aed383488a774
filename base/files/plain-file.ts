import { closeSync, constants, createReadStream, fstatSync, openSync, readSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { open } from 'node:fs/promises';

/** The bytes of a regular file and its mode, which belong to the same file. */
interface Bytes {
  readonly bytes: Buffer;
  readonly mode: number;
}

/** The {@link Bytes} of a regular file, or why they were not read. */
export type PlainFile = Bytes | { readonly refused: 'not a plain file' | 'too large' };

/**
 * O_NONBLOCK: opening a FIFO that nobody writes would wait forever. O_NOCTTY: no terminal becomes the
 * controlling one.
 */
const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/**
 * Reads at most `limit` bytes of a regular file. Refuses everything else: a FIFO, and a device, which has no
 * end.
 * @throws the system's error when it cannot be read
 */
export async function tryPlainFile(path: string, limit: number): Promise<PlainFile> {
  const read = await tryFile(path, limit);
  if ('bytes' in read) return read;
  return { refused: typeof read.refused === 'string' ? 'too large' : 'not a plain file' };
}

async function tryFile(
  path: string,
  limit: number,
): Promise<Bytes | { readonly refused: Stats | 'too large' }> {
  await using file = await open(path, flags);
  const stats = await file.stat();
  if (!stats.isFile()) return { refused: stats };
  let bytes = Buffer.alloc(Math.min(stats.size, limit) + 1);
  let size = 0;
  for (;;) {
    const { bytesRead } = await file.read(bytes, size, bytes.length - size, size);
    size += bytesRead;
    if (bytesRead === 0 || size > limit) break;
    // The file has grown, or reports no size, like a file of /proc.
    if (size === bytes.length) bytes = Buffer.concat([bytes], Math.min(bytes.length * 2 + 4096, limit + 1));
  }
  return size > limit ? { refused: 'too large' } : { bytes: bytes.subarray(0, size), mode: stats.mode };
}

const notRegular = (stats: Stats): Error =>
  new Error(stats.isDirectory() ? 'it is a folder' : 'it is not a regular file');
const tooLarge = (limit: number): Error => new Error(`it is larger than ${limit} bytes`);

/**
 * Reads a regular file like {@link tryPlainFile}.
 * @param limit in bytes
 * @throws Error when the path is not a regular file or holds more than `limit` bytes; the system's error when
 * it cannot be read
 */
export async function readPlainFile(path: string, limit: number): Promise<Buffer> {
  return (await readPlainFileWithMode(path, limit)).bytes;
}

/**
 * Reads a file like {@link readPlainFile}, with the mode of the file that was read. A check of the path could
 * see another file.
 * @throws as {@link readPlainFile}
 */
export async function readPlainFileWithMode(
  path: string,
  limit: number,
): Promise<{ readonly bytes: Buffer; readonly mode: number }> {
  const read = await tryFile(path, limit);
  if ('bytes' in read) return read;
  throw typeof read.refused === 'string' ? tooLarge(limit) : notRegular(read.refused);
}

/** Paths of descriptors that this process was started with: a redirection, or `<(…)` of a shell. */
const ownDescriptor = /^\/(?:dev\/(?:stdin|fd\/\d+)|proc\/self\/fd\/\d+)$/u;

/** Returns whether the path is a descriptor that this process was started with. It can be read only once. */
export function isOwnDescriptor(path: string): boolean {
  return ownDescriptor.test(path);
}

/**
 * Reads a file that a user names: a regular file, or a descriptor that the user has opened for this process
 * (`/dev/stdin`, `/dev/fd/63`), which may be a pipe. Any other FIFO or device is refused: without a writer,
 * or without an end, the call would never return.
 * @param limit in bytes
 * @throws as {@link readPlainFile}
 */
export async function readGivenFile(path: string, limit: number): Promise<Buffer> {
  if (!ownDescriptor.test(path)) return readPlainFile(path, limit);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) throw tooLarge(limit);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

/**
 * Reads a file like {@link readGivenFile}, and starts no thread for it. The caller waits for the disk, or for
 * the writer of the pipe.
 * @param limit in bytes
 * @throws as {@link readPlainFile}
 */
export function readGivenFileSync(path: string, limit: number): Buffer {
  return readSynchronously(path, limit, ownDescriptor.test(path));
}

/**
 * Reads a regular file as UTF-8, in a thread that may wait for the disk.
 * @param limit in bytes
 * @throws as {@link readPlainFile}
 */
export function readPlainFileSync(path: string, limit: number): string {
  return readSynchronously(path, limit, false).toString('utf8');
}

function readSynchronously(path: string, limit: number, mayBePipe: boolean): Buffer {
  const descriptor = openSync(path, mayBePipe ? constants.O_RDONLY : flags);
  // Node 22, which may run the libraries (docs/decisions/0095), has no DisposableStack.
  try {
    const stats = fstatSync(descriptor);
    if (!mayBePipe && !stats.isFile()) throw notRegular(stats);
    const chunks: Buffer[] = [];
    let size = 0;
    // A file of /proc reports a size of 0, and any file can grow while it is read.
    for (let wanted = Math.min(stats.size, limit) + 1; ; wanted = Math.min(4_096, limit + 1 - size)) {
      const chunk = Buffer.allocUnsafe(wanted);
      const read = readThroughSignals(descriptor, chunk);
      chunks.push(chunk.subarray(0, read));
      size += read;
      if (size > limit) throw tooLarge(limit);
      if (read === 0) return Buffer.concat(chunks, size);
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Reads from where the last read ended. A signal can interrupt the wait for the writer of a pipe. */
function readThroughSignals(descriptor: number, into: Buffer): number {
  for (;;)
    try {
      return readSync(descriptor, into, 0, into.length, null);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'EINTR') throw thrown;
    }
}

/** A part of a regular file, with the size of the whole file, or why it was not read. */
export type FilePart =
  | { readonly bytes: Uint8Array; readonly size: number }
  | { readonly refused: 'not a plain file' };

/**
 * Reads at most `most` bytes of a regular file from `start` on; fewer only at its end. Refuses everything
 * else, and never follows a link at the end of the path.
 * @throws the system's error when it cannot be read
 */
export async function readFilePart(path: string, start: number, most: number): Promise<FilePart> {
  await using file = await open(path, flags | constants.O_NOFOLLOW);
  const stats = await file.stat();
  if (!stats.isFile()) return { refused: 'not a plain file' };
  const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(most, stats.size - start)));
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, start + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return { bytes: bytes.subarray(0, length), size: stats.size };
}
