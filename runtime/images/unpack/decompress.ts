import { closeSync, createReadStream, openSync, readSync } from 'node:fs';
import { addAbortSignal, pipeline } from 'node:stream';
import type { Transform } from 'node:stream';
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import {
  Refused,
  gzipEngine,
  inflateChunks,
  isZstd,
  readChunks,
  zstdEngine,
} from '../../../base/inflate/index.ts';
import type { Engine } from '../../../base/inflate/index.ts';
import { layerError } from './layer-error.ts';
import { errnoOf } from '../limits/failures.ts';

/** 16 KiB, the default, takes twice the time on large layers. */
const chunkSize = 256 * 1024;
/** A zstd window of 128 MiB, the default limit of the zstd command: an archive must not claim more memory. */
const zstdWindowLog = 27;

/** A compression format of layers, and its two decompressors. */
interface Format {
  /** Starts the fast decompressor; undefined: this machine has none. */
  readonly engine: () => (() => Engine) | undefined;
  /** The stream of Node, which decides about a blob that the fast decompressor does not accept. */
  readonly stream: () => Transform;
}

/**
 * Returns the decompressed bytes of a layer blob: gzip (all members), zstd or plain. The first bytes
 * determine the format, because media types are often wrong, and the diff id proves the content. A chunk is
 * valid until the next one is requested. Throws IMAGES_LAYER_TRUNCATED and IMAGES_LAYER_CORRUPT.
 * @param signal ends the reading, even of a stream that yields nothing; the generator throws the signal's
 * reason
 */
export function decompress(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const format = formatOf(magicOf(path));
  return format === undefined ? readChunks(path, signal) : inflate(path, format, signal);
}

/**
 * Decompresses by an engine. If the engine refuses the blob, Node's stream decompresses it from its start and
 * skips the bytes that were already returned. So a refusal, its code and its reason always come from the
 * stream.
 */
async function* inflate(
  path: string,
  { engine, stream }: Format,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const create = engine();
  let returned = 0;
  if (create !== undefined) {
    try {
      for await (const chunk of inflateChunks(path, create, signal)) {
        returned += chunk.length;
        yield chunk;
      }
      return;
    } catch (thrown) {
      if (!(thrown instanceof Refused)) throw thrown;
    }
  }
  let seen = 0;
  for await (const chunk of byStream(path, stream(), signal)) {
    const fresh = chunk.subarray(Math.min(chunk.length, Math.max(0, returned - seen)));
    seen += chunk.length;
    if (fresh.length > 0) yield fresh;
  }
}

/** Decompresses by a stream of Node, which allocates each chunk. */
export async function* byStream(
  path: string,
  decoder: Transform,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const input = addAbortSignal(signal, createReadStream(path, { highWaterMark: chunkSize }));
  // The loop below gets a failure of the pipeline as a failure of the decoder.
  pipeline(input, decoder, () => undefined);
  try {
    yield* decoder as AsyncIterable<Buffer>;
  } catch (thrown) {
    signal.throwIfAborted();
    throw decodingError(thrown);
  } finally {
    input.destroy();
    decoder.destroy();
  }
}

function formatOf(magic: Buffer): Format | undefined {
  if (magic[0] === 0x1f && magic[1] === 0x8b) return gzip;
  return isZstd(magic) ? zstd : undefined;
}

// The readable side buffers a few chunks so that inflating (libuv's pool) and writing (this thread) overlap.
const options = { chunkSize, readableHighWaterMark: 4 * chunkSize, writableHighWaterMark: 2 * chunkSize };
const gzip: Format = { engine: gzipEngine, stream: () => createGunzip(options) };
const zstd: Format = {
  engine: () => zstdEngine(zstdWindowLog),
  stream: () =>
    createZstdDecompress({ ...options, params: { [constants.ZSTD_d_windowLogMax]: zstdWindowLog } }),
};

function magicOf(path: string): Buffer {
  using opened = new DisposableStack();
  const fd = opened.adopt(openSync(path, 'r'), closeSync);
  const bytes = Buffer.alloc(4);
  return bytes.subarray(0, readSync(fd, bytes, 0, 4, 0));
}

function decodingError(thrown: unknown): unknown {
  const code = errnoOf(thrown);
  if (code === 'ZSTD_error_frameParameter_windowTooLarge') {
    const why = `its zstd window is larger than ${2 ** (zstdWindowLog - 20)} MiB`;
    return layerError('IMAGES_LAYER_TOO_LARGE', 'layer', why, thrown);
  }
  if (code === 'Z_BUF_ERROR' || (thrown instanceof Error && thrown.message.includes('unexpected end'))) {
    return layerError('IMAGES_LAYER_TRUNCATED', 'layer', 'the compressed stream ends early', thrown);
  }
  if (code !== undefined && /^(Z|ZSTD|ERR_ZSTD|ERR_ZLIB)_/.test(code)) {
    return layerError('IMAGES_LAYER_CORRUPT', 'layer', `the compressed stream is damaged (${code})`, thrown);
  }
  return thrown;
}
