import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';

const unzip = promisify(gunzip);

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
 * Reads the body of a request, decompressed. The memory of a body is reserved before it is received;
 * `release` returns it.
 */
export async function readBody(request: IncomingMessage, limits: BodyLimits): Promise<Body> {
  const { sent, unpacked, memory } = limits;
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity' && encoding !== 'gzip')
    return { status: 415, why: 'the content encoding is neither gzip nor identity' };
  const announced = Number(request.headers['content-length'] ?? sent);
  if (announced > sent) return { status: 413, why: `the body is longer than ${sent} bytes` };
  const reserved = encoding === 'gzip' ? announced + unpacked : announced;
  if (memory.free < reserved) return { status: 503, why: 'too many requests are being received' };
  memory.free -= reserved;
  const release = (): void => {
    memory.free += reserved;
  };
  try {
    const read = await received(request, sent, encoding === 'gzip' ? unpacked : undefined);
    if ('bytes' in read) return { ...read, release };
    release();
    return read;
  } catch {
    release();
    return { status: 400, why: 'the body ended early' };
  }
}

async function received(
  request: IncomingMessage,
  most: number,
  unpacked: number | undefined,
): Promise<{ readonly bytes: Buffer } | Refused> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > most) return { status: 413, why: `the body is longer than ${most} bytes` };
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks, length);
  if (unpacked === undefined) return { bytes };
  try {
    return { bytes: await unzip(bytes, { maxOutputLength: unpacked }) };
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
      ? { status: 413, why: `the body is longer than ${unpacked} bytes after it is decompressed` }
      : { status: 400, why: 'the body is not gzip' };
  }
}
