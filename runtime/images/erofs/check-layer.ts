import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { verityDigest } from '../../../base/kernel/index.ts';
import { imageError, wrapImageError } from '../limits/failures.ts';
import { structureFault } from './check-structure.ts';
import type { LayerFileRecord } from './encode-layer.ts';
import { decodeHead, headBytes } from './format.ts';
import type { Regions } from './format.ts';

const chunkBytes = 1024 * 1024;
/** A million files with the longest names need about half of it. */
const maxMetadataBytes = 768 * 1024 * 1024;

/**
 * Opens a layer file, and checks that everything but its archive has the digest that was recorded when it was
 * encoded, and a valid structure: the kernel will parse no byte that the encoder did not write. Mount the
 * descriptor, not the path: another process may replace the file at the path. Costs time in proportion to the
 * metadata and to copied files; reads nothing of the archive. Blocks: call it in a Worker.
 * @returns a descriptor that the caller closes
 * @throws IMAGES_STORE_FAILED when the file is not the recorded one, is damaged, or cannot be read
 */
export function openLayerFile(path: string, record: LayerFileRecord): number {
  const fd = attempt(path, () =>
    openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK),
  );
  try {
    checkLayerFile(fd, path, record);
    return fd;
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
}

/**
 * Does the same for a file that is open already. The caller keeps the descriptor.
 * @param path for messages
 * @throws IMAGES_STORE_FAILED
 */
export function checkLayerFile(fd: number, path: string, record: LayerFileRecord): void {
  attempt(path, () => checkMetadata(fd, path, record));
}

/**
 * Checks that the archive in a layer file has the recorded diff id, whatever the head of the file contains:
 * this proves the content of every file that is not a copy from a layer below. Reads all of it. Blocks: call
 * it in a Worker.
 * @param goOn throws when the work was cancelled
 * @throws IMAGES_STORE_FAILED
 */
export function checkArchive(
  fd: number,
  path: string,
  { diffId }: Pick<LayerFileRecord, 'diffId'>,
  goOn: () => void = () => undefined,
): void {
  attempt(path, () => {
    const { archiveBytes } = readHead(fd, path);
    const digest = createHash('sha256');
    readAll(fd, path, headBytes, headBytes + archiveBytes, (part) => {
      goOn();
      digest.update(part);
    });
    if (`sha256:${digest.digest('hex')}` !== diffId)
      throw invalid(path, 'its archive does not have the digest of the layer');
  });
}

function checkMetadata(fd: number, path: string, record: LayerFileRecord): void {
  if (record.verity !== undefined && verityDigest(fd) !== record.verity)
    throw invalid(path, 'fs-verity does not protect it, or protects other content');
  const stats = fstatSync(fd);
  if (!stats.isFile()) throw invalid(path, 'it is not a regular file');
  if (stats.size !== record.bytes)
    throw invalid(path, `it has ${stats.size} bytes, and ${record.bytes} were written`);
  const regions = readHead(fd, path);
  if (regions.fileBytes !== record.bytes || regions.diffId !== record.diffId)
    throw invalid(path, 'it is the file of another layer');
  const metadataBytes = regions.fileBytes - regions.metadataAt;
  if (metadataBytes > maxMetadataBytes)
    throw invalid(path, `its metadata has more than ${maxMetadataBytes} bytes`);
  const metadata = Buffer.allocUnsafeSlow(metadataBytes);
  const digest = createHash('sha256');
  let behind = headBytes + regions.archiveBytes;
  if (record.lazy === true) {
    // The rest of the archive's last page: a read of it would wait until the end of the archive is fetched.
    digest.update(Buffer.alloc(regions.copiesAt - behind));
    behind = regions.copiesAt;
  }
  readAll(fd, path, behind, regions.metadataAt, (part) => digest.update(part));
  fill(fd, path, metadata, regions.metadataAt);
  digest.update(metadata);
  digest.update(readBytes(fd, path, 0, headBytes));
  if (digest.digest('hex') !== record.metadataSha256)
    throw invalid(path, 'its metadata does not have the digest that was recorded');
  const fault = structureFault(regions, metadata);
  if (fault !== undefined) throw invalid(path, fault);
}

function readHead(fd: number, path: string): Regions {
  const regions = decodeHead(readBytes(fd, path, 0, headBytes));
  if (regions === undefined) throw invalid(path, 'it does not begin with the head of a layer file');
  return regions;
}

function readBytes(fd: number, path: string, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  fill(fd, path, bytes, at);
  return bytes;
}

function fill(fd: number, path: string, bytes: Buffer, at: number): void {
  for (let done = 0; done < bytes.length;) {
    const read = readSync(fd, bytes, done, bytes.length - done, at + done);
    if (read === 0) throw invalid(path, 'it ends early');
    done += read;
  }
}

function readAll(fd: number, path: string, from: number, to: number, each: (part: Buffer) => void): void {
  const buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, Math.max(to - from, 0)));
  for (let at = from; at < to;) {
    const part = buffer.subarray(0, Math.min(buffer.length, to - at));
    fill(fd, path, part, at);
    each(part);
    at += part.length;
  }
}

const failure = {
  code: 'IMAGES_STORE_FAILED',
  kind: 'data-loss',
  attempted: 'check layer file',
  fix: 'remove the image and pull it again; check the disk, and whether another program writes to the image store',
} as const;

function invalid(on: string, why: string): Error {
  return imageError({ ...failure, on, why });
}

function attempt<T>(on: string, body: () => T): T {
  try {
    return body();
  } catch (thrown) {
    throw wrapImageError(thrown, { ...failure, on });
  }
}
