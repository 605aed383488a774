import { closeSync, createReadStream, openSync, readSync } from 'node:fs';
import { addAbortSignal, pipeline } from 'node:stream';
import type { Transform } from 'node:stream';
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import { layerError } from './layer-error.ts';
import { errnoOf } from '../limits/failures.ts';

/** 16 KiB, the default, takes twice the time on large layers. */
const chunkSize = 256 * 1024;
/** A zstd window of 128 MiB, the default limit of the zstd command: an archive must not claim more memory. */
const zstdWindowLog = 27;

/**
 * Returns the decompressed bytes of a layer blob: gzip (all members), zstd or plain. The first bytes
 * determine the format, because media types are often wrong about it and the diff id decides. Throws
 * IMAGES_LAYER_TRUNCATED and IMAGES_LAYER_CORRUPT.
 * @param signal ends the reading, also of a stream that yields nothing; the generator throws the signal's
 * reason
 */
export function decompress(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  return read(path, decoderOf(magicOf(path)), signal);
}

async function* read(path: string, decoder: Transform | undefined, signal: AbortSignal): AsyncGenerator<Buffer> {
  const input = addAbortSignal(signal, createReadStream(path, { highWaterMark: chunkSize }));
  if (decoder === undefined) {
    try {
      yield* input as AsyncIterable<Buffer>;
    } catch (thrown) {
      signal.throwIfAborted();
      throw thrown;
    }
    return;
  }
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

function decoderOf(magic: Buffer): Transform | undefined {
  // The readable side buffers a few chunks so that inflating (libuv's pool) and writing (this thread)
  // overlap.
  const options = { chunkSize, readableHighWaterMark: 4 * chunkSize, writableHighWaterMark: 2 * chunkSize };
  if (magic[0] === 0x1f && magic[1] === 0x8b) return createGunzip(options);
  if (magic.length === 4 && magic.readUInt32LE(0) === 0xfd2fb528) {
    return createZstdDecompress({ ...options, params: { [constants.ZSTD_d_windowLogMax]: zstdWindowLog } });
  }
  return undefined;
}

function magicOf(path: string): Buffer {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(4);
    return bytes.subarray(0, readSync(fd, bytes, 0, 4, 0));
  } finally {
    closeSync(fd);
  }
}

function decodingError(thrown: unknown): unknown {
  const code = errnoOf(thrown);
  if (code === 'Z_BUF_ERROR' || (thrown instanceof Error && thrown.message.includes('unexpected end'))) {
    return layerError('IMAGES_LAYER_TRUNCATED', 'layer', 'the compressed stream ends early', thrown);
  }
  if (code !== undefined && /^(Z|ZSTD|ERR_ZSTD|ERR_ZLIB)_/.test(code)) {
    return layerError('IMAGES_LAYER_CORRUPT', 'layer', `the compressed stream is damaged (${code})`, thrown);
  }
  return thrown;
}
