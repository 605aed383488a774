import { blockSize, decodeHeader } from './tar-header.ts';
import type { TarHeader } from './tar-header.ts';
import { createTarMetadata, isMetadataType } from './tar-metadata.ts';
import type { TarEntry } from './tar-metadata.ts';
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

type State = 'header' | 'body' | 'metadata' | 'padding' | 'after-end';

/**
 * A push parser for tar streams that passes whole entries to a synchronous sink. Bytes after the
 * end-of-archive mark are read (they belong to the diff id) and ignored.
 */
export function createTarReader(sink: TarSink): TarReader {
  let state: State = 'header';
  const partial = Buffer.alloc(blockSize);
  let partialLength = 0;
  let remaining = 0;
  let padding = 0;
  const metadata = createTarMetadata();
  let current = '';
  let zeroBlocks = 0;

  function header(found: TarHeader | undefined): void {
    if (found === undefined) {
      zeroBlocks++;
      if (zeroBlocks === 2) state = 'after-end';
      return;
    }
    // Two blocks of zeros end an archive. Tar programs disagree about a single one: some would read and
    // others would skip the data after it.
    if (zeroBlocks > 0)
      throw layerError('IMAGES_LAYER_CORRUPT', found.name, 'an entry follows a block of zeros');
    const { type } = found;
    if (isMetadataType(type)) {
      metadata.begin({ ...found, type });
      startBody(found.size, 'metadata');
    } else {
      const entry = metadata.applyTo({ ...found, type });
      current = entry.name;
      sink.begin(entry);
      startBody(entry.size, 'body');
    }
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
      if (state === 'header') at = readHeader(chunk, at);
      else if (state === 'padding') at = skipPadding(chunk, at);
      else at = readBody(chunk, at);
    }
  }

  function readHeader(chunk: Buffer, at: number): number {
    if (partialLength === 0 && chunk.length - at >= blockSize) {
      header(decodeHeader(chunk, at));
      return at + blockSize;
    }
    const take = Math.min(blockSize - partialLength, chunk.length - at);
    chunk.copy(partial, partialLength, at, at + take);
    partialLength += take;
    if (partialLength === blockSize) {
      partialLength = 0;
      header(decodeHeader(partial, 0));
    }
    return at + take;
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
    const inside =
      state === 'body' ||
      state === 'metadata' ||
      (state === 'header' && partialLength > 0) ||
      (state === 'padding' && padding > 0);
    if (inside)
      throw layerError(
        'IMAGES_LAYER_TRUNCATED',
        current === '' ? 'layer' : current,
        'the archive ends in the middle of an entry',
      );
    if (metadata.isPending())
      throw layerError('IMAGES_LAYER_TRUNCATED', 'layer', 'the archive ends after an extended header');
  }

  return { push, finish };
}
