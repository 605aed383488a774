import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { orThrow } from '../../../base/errors/index.ts';
import { createGzipHeader } from '../../../base/inflate/index.ts';
import { inflateRaw } from 'node:zlib';
import { badChunkIndex, chunkLimits } from './chunk-index.ts';
import type { Chunk } from './chunk-index.ts';

/**
 * The CRC and the length at the end of a gzip member. A member that does not fit in the window cannot be a
 * chunk.
 */
const trailerBytes = 8;
const windowBytes = chunkLimits.chunkBytes + trailerBytes;

/**
 * Splits a layer's blob into its gzip members, each of which is one chunk (RFC 1952, section 2.2: "members").
 * Reads up to 4 MiB for each member.
 * @param path of the blob
 * @param on names the blob in errors
 * @returns the chunks, and the digest of the blob, `sha256:…`
 * @throws IMAGES_BAD_CHUNK_INDEX when the blob has a member of more than 4 MiB, or is not gzip
 */
export async function splitMembers(
  path: string,
  on: string,
): Promise<{ readonly chunks: readonly Chunk[]; readonly digest: string }> {
  const blob = createHash('sha256');
  const chunks: Chunk[] = [];
  await using file = await open(path, 'r');
  const { size } = await file.stat();
  for (let at = 0; at < size;) {
    const window = await readAt(file, at, Math.min(windowBytes, size - at));
    const member = await firstMember(window, on);
    const bytes = window.subarray(0, member.blobBytes);
    blob.update(bytes);
    chunks.push({ ...member, sha256: createHash('sha256').update(bytes).digest('hex') });
    if (chunks.length > chunkLimits.chunks)
      throw badChunkIndex(on, `it has more than ${chunkLimits.chunks} gzip members`);
    at += member.blobBytes;
  }
  if (chunks.length === 0) throw badChunkIndex(on, 'it is empty');
  return { chunks, digest: `sha256:${blob.digest('hex')}` };
}

async function firstMember(
  window: Buffer,
  on: string,
): Promise<{ readonly bytes: number; readonly blobBytes: number }> {
  const none = (cause?: unknown): Error =>
    Object.assign(
      badChunkIndex(
        on,
        `it does not consist of gzip members of at most ${chunkLimits.chunkBytes} bytes, so its parts cannot be fetched separately`,
        'push the image with portcullis images push --chunked',
      ),
      { cause },
    );
  const start: number | undefined = orThrow(() => createGzipHeader().read(window, 0, window.length), none);
  if (start === undefined) throw none();
  const { bytes, consumed } = await inflateMember(window.subarray(start)).catch((thrown: unknown) => {
    throw none(thrown);
  });
  const blobBytes = start + consumed + trailerBytes;
  // An empty member contains no part of the archive that a range could name.
  if (bytes === 0 || blobBytes > window.length || blobBytes > chunkLimits.chunkBytes) throw none();
  return { bytes, blobBytes };
}

/** Inflates raw deflate data up to its end. */
function inflateMember(input: Buffer): Promise<{ readonly bytes: number; readonly consumed: number }> {
  return new Promise((resolve, reject) => {
    // With `info`, the callback gets the engine too, which reports how much input it has read.
    const options = { info: true, maxOutputLength: chunkLimits.chunkBytes };
    inflateRaw(input, options, (error, result: unknown) => {
      if (error !== null) {
        reject(error);
        return;
      }
      const { buffer, engine } = result as { buffer: Buffer; engine: { bytesWritten: number } };
      resolve({ bytes: buffer.length, consumed: engine.bytesWritten });
    });
  });
}

async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(bytes, done, length - done, at + done);
    if (bytesRead === 0) throw new Error('the blob became shorter while it was read');
    done += bytesRead;
  }
  return bytes;
}
