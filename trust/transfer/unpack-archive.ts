import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import type { ExtractEvents } from 'tar-stream';

import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { storageFailure } from '../../base/storage/index.ts';
import { damaged } from './archive-errors.ts';

/** A file of an archive, which is now a blob of the folder. */
export interface ArchiveFile {
  readonly digest: string;
  readonly size: number;
}

/** The regular files of an archive, by name. */
export interface ArchiveFiles {
  /** Follows links inside the archive. Undefined: the archive has no such file. */
  find(name: string): ArchiveFile | undefined;
}

const mostEntries = 100_000;
const mostNameLength = 1024;
/** A link that leads to a link that leads … */
const mostLinks = 8;

/**
 * Extracts each regular file of a tar archive to `blobs/sha256/DIGEST` of the folder, whatever its name is.
 * Nothing is written under a name of the archive, and a link is only a second name of a file in it.
 * @throws TRUST_ARCHIVE_DAMAGED
 */
export async function unpackArchive(file: string, folder: string): Promise<ArchiveFiles> {
  const files = new Map<string, ArchiveFile>();
  const links = new Map<string, string>();
  let entries = 0;
  /** Returns what an archive has under a name so far, as one text. */
  const contentOf = (name: string): string => `${files.get(name)?.digest ?? ''}${links.get(name) ?? ''}`;
  const blobs = join(folder, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  await forEachEntry(file, folder, async (entry) => {
    const name = plainName(file, entry.header.name);
    entries += 1;
    if (entries > mostEntries) throw damaged(file, `it contains more than ${mostEntries} files`);
    const earlier = contentOf(name);
    const { type, linkname } = entry.header;
    if (type === 'file' || type === 'contiguous-file')
      files.set(name, await keep(entry as AsyncIterable<Buffer>, blobs));
    else if (type === 'symlink') links.set(name, posix.join(posix.dirname(name), linkname));
    else if (type === 'link') links.set(name, plainName(file, linkname));
    // A program that adds to an archive may repeat a file.
    if (earlier !== '' && earlier !== contentOf(name))
      throw damaged(file, `it contains ${quoted(name)} twice, with different content`);
    if (isOther(type)) throw damaged(file, `it contains ${quoted(name)}, which is neither a file nor a link`);
  });
  return {
    find(name) {
      let wanted = posix.normalize(name);
      for (let followed = 0; followed < mostLinks; followed++) {
        const next = links.get(wanted);
        if (next === undefined) return files.get(wanted);
        wanted = next;
      }
      return undefined;
    },
  };
}

const readTypes = ['file', 'contiguous-file', 'symlink', 'link', 'directory'];
const isOther = (type: string | null | undefined): boolean => !readTypes.includes(type ?? '');

/**
 * Calls `take` with each entry of a tar archive in turn. Content that it does not read is skipped.
 * @param folder where `take` writes, for errors
 * @throws TRUST_ARCHIVE_DAMAGED · the errors of storage, such as a full disk · the errors of `take`
 */
export async function forEachEntry(
  file: string,
  folder: string,
  take: (entry: ExtractEvents['entry'][1]) => Promise<void>,
): Promise<void> {
  const input = await openArchive(file);
  const reader = extract();
  const fed = pipeline(input, reader);
  // It can fail while `take` writes, when nothing waits for it. The loop below gets the failure too.
  fed.catch(() => undefined);
  try {
    for await (const entry of reader) {
      await take(entry);
      entry.resume();
    }
    await fed;
  } catch (error) {
    reader.destroy();
    if (error instanceof PortcullisError) throw error;
    // A full disk is not a fault of the archive.
    if ((error as NodeJS.ErrnoException).syscall !== undefined)
      throw storageFailure(error, 'unpack archive', folder);
    throw damaged(file, 'it is not a complete tar archive without compression');
  }
}

/**
 * Opens a tar archive, which must be a regular file without compression.
 * @throws TRUST_ARCHIVE_DAMAGED
 */
async function openArchive(file: string): Promise<NodeJS.ReadableStream> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY).catch(
    (error: unknown) => {
      throw damaged(file, fileReason(error, file), 'name the file of an archive');
    },
  );
  try {
    if (!(await handle.stat()).isFile())
      throw damaged(file, 'it is not a regular file', 'name the file of an archive');
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    const compression = compressionOf(buffer.subarray(0, bytesRead));
    if (compression !== undefined)
      throw damaged(file, `it is compressed with ${compression}`, 'decompress it first');
  } catch (error) {
    await handle.close();
    throw error;
  }
  return handle.createReadStream({ start: 0, highWaterMark: 256 * 1024 });
}

/** Returns the compression that the first four bytes of a file announce (RFC 1952, RFC 8878). */
export function compressionOf(head: Uint8Array): 'gzip' | 'zstd' | undefined {
  const [first, second, third, fourth] = head;
  if (first === 0x1f && second === 0x8b) return 'gzip';
  return first === 0x28 && second === 0xb5 && third === 0x2f && fourth === 0xfd ? 'zstd' : undefined;
}

function plainName(file: string, name: string): string {
  if (name.length > mostNameLength) throw damaged(file, 'the name of a file in it is too long');
  const plain = posix.normalize(name).replace(/\/$/u, '');
  if (plain.startsWith('/') || plain === '..' || plain.startsWith('../'))
    throw damaged(file, `it names ${quoted(name)}, which is outside the archive`);
  return plain;
}

async function keep(entry: AsyncIterable<Buffer>, blobs: string): Promise<ArchiveFile> {
  const hash = createHash('sha256');
  let size = 0;
  const incoming = join(blobs, 'incoming');
  const handle = await open(incoming, 'w', 0o600);
  try {
    for await (const chunk of entry) {
      hash.update(chunk);
      size += chunk.length;
      for (let at = 0; at < chunk.length;) at += (await handle.write(chunk, at)).bytesWritten;
    }
  } finally {
    await handle.close();
  }
  const hex = hash.digest('hex');
  await rename(incoming, join(blobs, hex));
  return { digest: `sha256:${hex}`, size };
}

const quoted = (name: string): string => JSON.stringify(name.slice(0, 100));
