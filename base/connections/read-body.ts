import type { IncomingMessage } from 'node:http';
import { createGunzip } from 'node:zlib';
import { collectBytes } from '../lists/index.ts';

/** Limits of the bodies that are being received. */
export interface BodyLimits {
  /** The longest body as it is sent. */
  readonly sent: number;
  /** The longest body after it is decompressed. */
  readonly unpacked: number;
  /** Bytes that further bodies may take. */
  readonly memory: { free: number };
}

interface Refused {
  readonly status: 400 | 413 | 415 | 503;
  readonly why: string;
}

/** A body, or the status with which the request is refused. */
export type Body = { readonly bytes: Buffer; readonly release: () => void } | Refused;

/**
 * Reads the body of a request, decompressed. Memory is reserved for what has arrived, so that a body that
 * comes slowly takes no place of others; `release` returns it.
 */
export async function readBody(request: IncomingMessage, limits: BodyLimits): Promise<Body> {
  const { sent, memory } = limits;
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity' && encoding !== 'gzip')
    return { status: 415, why: 'the content encoding is neither gzip nor identity' };
  if (Number(request.headers['content-length'] ?? 0) > sent) return tooLong(sent);
  let reserved = 0;
  const reserve = (bytes: number): boolean => {
    if (memory.free < bytes) return false;
    memory.free -= bytes;
    reserved += bytes;
    return true;
  };
  const release = (): void => {
    memory.free += reserved;
    reserved = 0;
  };
  try {
    const received = await receive(request, sent, reserve);
    const read =
      'bytes' in received && encoding === 'gzip'
        ? await decompress(received.bytes, limits.unpacked, reserve)
        : received;
    if ('bytes' in read) return { ...read, release };
    release();
    return read;
  } catch {
    release();
    return { status: 400, why: 'the body ended early' };
  }
}

const tooMany: Refused = { status: 503, why: 'too many requests are being received' };
const tooLong = (most: number): Refused => ({ status: 413, why: `the body is longer than ${most} bytes` });

type Reserve = (bytes: number) => boolean;

async function receive(
  request: IncomingMessage,
  most: number,
  reserve: Reserve,
): Promise<{ readonly bytes: Buffer } | Refused> {
  const body = collectBytes();
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > most) return tooLong(most);
    if (!reserve(chunk.length)) return tooMany;
    body.add(chunk);
  }
  return { bytes: body.join() };
}

/** In bytes. Memory is reserved in such pieces, because the length in the body may be false. */
const unzippedAtOnce = 64 * 1024;

async function decompress(
  bytes: Buffer,
  most: number,
  reserve: Reserve,
): Promise<{ readonly bytes: Buffer } | Refused> {
  const unzip = createGunzip({ chunkSize: unzippedAtOnce });
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    unzip.end(bytes);
    for await (const chunk of unzip as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > most)
        return { status: 413, why: `the body is longer than ${most} bytes after it is decompressed` };
      if (!reserve(chunk.length)) return tooMany;
      chunks.push(chunk);
    }
  } catch {
    return { status: 400, why: 'the body is not gzip' };
  }
  return { bytes: Buffer.concat(chunks, length) };
}
