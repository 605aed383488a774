import { createHash } from 'node:crypto';
import { readSync, writeSync } from 'node:fs';
import { freeBuffer } from '../../../base/inflate/index.ts';
import { createWriteOut } from '../../../base/kernel/index.ts';
import { unwritable } from '../unpack/layer-error.ts';
import type { ContentWriter } from './copy-up.ts';
import { blockBytes, encodeHead, headBytes, pageBytes, roundUp } from './format.ts';
import type { Regions } from './format.ts';

const bufferBytes = 256 * 1024;

/** Writes the regions of one layer file, in the order of their places; the head comes last. */
export interface LayerFileWriter {
  /** Writes the next bytes of the archive. @throws IMAGES_LAYER_UNWRITABLE, IMAGES_DISK_FULL */
  archive(chunk: Buffer): void;
  /** Returns the place of a part of the chunk that was written last, in bytes from the start of the file. */
  positionOf(part: Buffer): number;
  /** Ends the archive. Returns its length and its digest, `sha256:…`. */
  endArchive(): { readonly bytes: number; readonly digest: string };
  /** Reads bytes of the archive back, from a place in the file. @throws IMAGES_LAYER_UNWRITABLE */
  readArchive(into: Buffer, place: number): void;
  /** Files that are copied from the layers below, and parts of sparse files. */
  readonly copies: ContentWriter;
  /** Ends the copies. Returns the place of the metadata, at a page. */
  beginMetadata(): number;
  /** Appends metadata. The bytes may be reused after the call. */
  append(bytes: Buffer): void;
  /** Appends zeros up to a place. */
  zeroTo(place: number): void;
  /**
   * Writes the head, after which the file is a layer. Returns the sha256, in hex, of everything that is not
   * the archive: from the archive's end to the end of the file, then the head.
   */
  finish(regions: Regions): string;
  /** Frees the buffer. Nothing may be written afterwards. */
  release(): void;
}

/** @param fd an empty file, open for reading and writing, which the caller closes */
export function createLayerFileWriter(fd: number): LayerFileWriter {
  const archiveHash = createHash('sha256');
  const metadataHash = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(bufferBytes);
  let [buffered, at] = [0, headBytes];
  const writeOut = createWriteOut(fd);
  let chunk: { readonly bytes: Buffer; readonly at: number } = { bytes: Buffer.alloc(0), at: headBytes };

  function writeAt(bytes: Buffer, place: number): void {
    try {
      for (let done = 0; done < bytes.length;)
        done += writeSync(fd, bytes, done, bytes.length - done, place + done);
    } catch (thrown) {
      throw unwritable(thrown, 'layer');
    }
  }

  function flush(): void {
    const bytes = buffer.subarray(0, buffered);
    metadataHash.update(bytes);
    writeAt(bytes, at - buffered);
    buffered = 0;
  }

  function append(bytes: Buffer): void {
    for (let done = 0; done < bytes.length;) {
      const taken = bytes.copy(buffer, buffered, done);
      [done, buffered, at] = [done + taken, buffered + taken, at + taken];
      if (buffered === bufferBytes) flush();
    }
  }

  function zeroTo(place: number): void {
    while (at < place) {
      const count = Math.min(place - at, bufferBytes - buffered);
      buffer.fill(0, buffered, buffered + count);
      [buffered, at] = [buffered + count, at + count];
      if (buffered === bufferBytes) flush();
    }
  }

  return {
    archive(bytes) {
      archiveHash.update(bytes);
      writeAt(bytes, at);
      chunk = { bytes, at };
      at += bytes.length;
      writeOut(at);
    },
    positionOf(part) {
      const offset = part.byteOffset - chunk.bytes.byteOffset;
      if (part.buffer !== chunk.bytes.buffer || offset < 0 || offset + part.length > chunk.bytes.length)
        throw new Error('a part of the archive is not in the chunk that was read');
      return chunk.at + offset;
    },
    endArchive() {
      const bytes = at - headBytes;
      zeroTo(roundUp(at, pageBytes));
      return { bytes, digest: `sha256:${archiveHash.digest('hex')}` };
    },
    readArchive(into, place) {
      try {
        for (let done = 0; done < into.length;) {
          const read = readSync(fd, into, done, into.length - done, place + done);
          if (read === 0) throw new Error('the archive ends early');
          done += read;
        }
      } catch (thrown) {
        throw unwritable(thrown, 'layer');
      }
    },
    copies: {
      begin() {
        zeroTo(roundUp(at, blockBytes));
        return at;
      },
      write: append,
    },
    beginMetadata() {
      zeroTo(roundUp(at, pageBytes));
      return at;
    },
    append,
    zeroTo,
    finish(regions) {
      zeroTo(regions.fileBytes);
      flush();
      const head = encodeHead(regions);
      metadataHash.update(head);
      writeAt(head, 0);
      return metadataHash.digest('hex');
    },
    release() {
      freeBuffer(buffer);
    },
  };
}
