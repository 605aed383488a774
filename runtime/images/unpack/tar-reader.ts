import { blockSize, decodeHeader } from './tar-header.ts';
import type { TarHeader } from './tar-header.ts';
import { createTarMetadata, isMetadataType } from './tar-metadata.ts';
import type { TarEntry } from './tar-metadata.ts';
import { sparseOfHeader } from './sparse.ts';
import type { SparseMapReader } from './sparse.ts';
import { layerError } from './layer-error.ts';

/**
 * Receives the entries: synchronous, one entry after another. `data` comes only between `begin` and `end` of
 * an entry with a size above 0.
 */
export interface TarSink {
  begin(entry: TarEntry): void;
  data(chunk: Buffer): void;
  end(): void;
}

export interface TarReader {
  /** Feeds decompressed bytes; the buffer may be reused after the call. */
  push(chunk: Buffer): void;
  /** Ends the stream. Throws IMAGES_LAYER_TRUNCATED inside an entry or a header. */
  finish(): void;
}

type State = 'header' | 'sparse-map' | 'body' | 'metadata' | 'padding' | 'after-end';

/** Reads whole blocks from chunks of any length. */
interface BlockReader {
  /** Reads from `at` up to one block. Returns the end of what it has read. */
  read(chunk: Buffer, at: number): number;
  /** Returns whether the last chunk ended within a block. */
  isPartial(): boolean;
}

/** @param take gets each block, at an offset of a buffer that is reused after the call */
function createBlockReader(take: (buffer: Buffer, at: number) => void): BlockReader {
  const partial = Buffer.alloc(blockSize);
  let length = 0;
  return {
    read(chunk, at) {
      if (length === 0 && chunk.length - at >= blockSize) {
        take(chunk, at);
        return at + blockSize;
      }
      const count = Math.min(blockSize - length, chunk.length - at);
      chunk.copy(partial, length, at, at + count);
      length += count;
      if (length === blockSize) {
        length = 0;
        take(partial, 0);
      }
      return at + count;
    },
    isPartial: () => length > 0,
  };
}

/** A sparse file while its map is read, which is in blocks before its body or at the body's beginning. */
interface SparseFile {
  readMap(buffer: Buffer, at: number): void;
  /**
   * Returns the entry with its map, and with the remaining size of its body. Undefined: the map is not
   * complete yet.
   */
  withMap(): TarEntry | undefined;
}

function createSparseFile(entry: TarEntry, map: SparseMapReader): SparseFile {
  let left = entry.size;
  return {
    readMap(buffer, at) {
      if (map.isInBody) {
        if (left < blockSize)
          throw layerError(
            'IMAGES_LAYER_CORRUPT',
            entry.name,
            'the map of a sparse file is longer than its body',
          );
        left -= blockSize;
      }
      map.push(buffer, at);
    },
    withMap: () => (map.isComplete() ? { ...entry, size: left, sparse: map.map(left) } : undefined),
  };
}

/**
 * A push parser for tar streams that passes whole entries to a synchronous sink. Bytes after the
 * end-of-archive mark are read (they belong to the diff id) and ignored.
 */
export function createTarReader(sink: TarSink): TarReader {
  let state: State = 'header';
  const blocks = createBlockReader((buffer, at) => block(buffer, at));
  let remaining = 0;
  let padding = 0;
  const metadata = createTarMetadata();
  let current = '';
  let zeroBlocks = 0;
  /** A sparse file whose map is not complete yet. */
  let sparse: SparseFile | undefined;

  function header(found: TarHeader | undefined, buffer: Buffer, at: number): void {
    if (found === undefined) {
      zeroBlocks++;
      if (zeroBlocks === 2) state = 'after-end';
      return;
    }
    // Two blocks of zeros end an archive. Tar programs disagree about a single block of zeros: some read the
    // data after it, and others skip it.
    if (zeroBlocks > 0)
      throw layerError('IMAGES_LAYER_CORRUPT', found.name, 'an entry follows a block of zeros');
    const { type } = found;
    if (isMetadataType(type)) {
      metadata.begin({ ...found, type });
      startBody(found.size, 'metadata');
    } else {
      const isOldSparse = type === 'gnu-sparse';
      const { entry, map } = metadata.applyTo(
        { ...found, type: isOldSparse ? 'file' : type },
        isOldSparse ? sparseOfHeader(buffer, at) : undefined,
      );
      current = entry.name;
      if (map !== undefined) {
        sparse = createSparseFile(entry, map);
        beginSparse();
        return;
      }
      sink.begin(entry);
      startBody(entry.size, 'body');
    }
    if (remaining === 0) endBody();
  }

  /** Begins the body of a sparse file, or reads the next block of its map. */
  function beginSparse(): void {
    const entry = sparse?.withMap();
    if (entry === undefined) {
      state = 'sparse-map';
      return;
    }
    sparse = undefined;
    sink.begin(entry);
    startBody(entry.size, 'body');
    if (remaining === 0) endBody();
  }

  function startBody(size: number, next: 'body' | 'metadata'): void {
    remaining = size;
    padding = (blockSize - (size % blockSize)) % blockSize;
    state = next;
  }

  function endBody(): void {
    if (state === 'metadata') metadata.end();
    else sink.end();
    state = padding > 0 ? 'padding' : 'header';
  }

  function push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (state === 'after-end') return;
      if (state === 'header' || state === 'sparse-map') at = blocks.read(chunk, at);
      else if (state === 'padding') at = skipPadding(chunk, at);
      else at = readBody(chunk, at);
    }
  }

  /** Takes a whole block: a header, or a part of a map. */
  function block(buffer: Buffer, at: number): void {
    if (state !== 'sparse-map') {
      header(decodeHeader(buffer, at), buffer, at);
      return;
    }
    sparse?.readMap(buffer, at);
    beginSparse();
  }

  function skipPadding(chunk: Buffer, at: number): number {
    const take = Math.min(padding, chunk.length - at);
    padding -= take;
    if (padding === 0) state = 'header';
    return at + take;
  }

  function readBody(chunk: Buffer, at: number): number {
    const take = Math.min(remaining, chunk.length - at);
    const part = chunk.subarray(at, at + take);
    remaining -= take;
    if (state === 'metadata') metadata.push(part);
    else sink.data(part);
    if (remaining === 0) endBody();
    return at + take;
  }

  function finish(): void {
    const isInside =
      state === 'body' ||
      state === 'metadata' ||
      state === 'sparse-map' ||
      (state === 'header' && blocks.isPartial()) ||
      (state === 'padding' && padding > 0);
    if (isInside) throw truncated(current);
    if (metadata.isPending())
      throw layerError('IMAGES_LAYER_TRUNCATED', 'layer', 'the archive ends after an extended header');
  }

  return { push, finish };
}

const truncated = (entry: string): Error =>
  layerError(
    'IMAGES_LAYER_TRUNCATED',
    entry === '' ? 'layer' : entry,
    'the archive ends in the middle of an entry',
  );
