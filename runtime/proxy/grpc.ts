import type { StatusObject } from '@grpc/grpc-js';
import type { Http2Stream, IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { Transform } from 'node:stream';
import { PortcullisError } from '../../base/errors/index.ts';
import { largestMessage } from '../cri/limits.ts';

/** gRPC over HTTP/2, as far as a proxy reads it. Source: grpc.io, "gRPC over HTTP2". */

/** Flag and length before each message. */
const prefixLength = 5;

/** Headers that belong to one connection (RFC 9113, section 8.2.2). */
const ofConnection = new Set([
  'connection',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** Returns the headers that are passed on: all but pseudo headers and those of one connection. */
export function passedHeaders(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const passed: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers))
    if (!name.startsWith(':') && !ofConnection.has(name)) passed[name] = value;
  return passed;
}

/** Returns the frame of one message that is not compressed. */
export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(prefixLength + message.length);
  frame.writeUInt8(0, 0);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, prefixLength);
  return frame;
}

/**
 * Reads the one message of a unary call. A stream that is refused is not destroyed: it can still be answered.
 * @returns undefined if the stream ended without one
 * @throws PortcullisError CRI_BAD_REQUEST, CRI_MESSAGE_TOO_LARGE, CRI_COMPRESSED; the error of the stream
 */
export async function readMessage(stream: Http2Stream, rpc: string): Promise<Buffer | undefined> {
  const all = await readAll(stream, rpc);
  if (all.length === 0) return undefined;
  if (all.length < prefixLength) throw badFrame(rpc, `it ends after ${all.length} bytes`);
  if (all[0] !== 0) throw compressed(rpc);
  const announced = all.readUInt32BE(1);
  if (announced !== all.length - prefixLength)
    throw badFrame(rpc, `it announces ${announced} bytes but has ${all.length - prefixLength}`);
  return all.subarray(prefixLength);
}

function readAll(stream: Http2Stream, rpc: string): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let length = 0;
  const take = (chunk: Buffer): void => {
    chunks.push(chunk);
    length += chunk.length;
    if (length <= largestMessage + prefixLength) return;
    stream.off('data', take);
    reject(tooLarge(rpc));
  };
  stream.on('data', take);
  stream.once('end', () => resolve(Buffer.concat(chunks)));
  stream.once('error', reject);
  stream.once('close', () => reject(new Error('the connection was closed')));
  return promise;
}

/**
 * Returns a stream that changes each message of a stream of messages. It fails for a message that is
 * compressed or too large, and for what `edit` throws.
 */
export function messageEditor(edit: (message: Buffer) => Buffer): Transform {
  let waiting: Buffer[] = [];
  let length = 0;
  const take = (): Buffer | undefined => {
    if (length < prefixLength) return undefined;
    // One chunk may hold thousands of messages: it is not copied for each of them.
    const first = waiting.length === 1 && waiting[0] !== undefined ? waiting[0] : Buffer.concat(waiting);
    waiting = [first];
    if (first[0] !== 0) throw compressed('the stream');
    const end = prefixLength + first.readUInt32BE(1);
    if (end > largestMessage + prefixLength) throw tooLarge('the stream');
    if (length < end) return undefined;
    waiting = [first.subarray(end)];
    length -= end;
    return first.subarray(prefixLength, end);
  };
  /** Bytes that the next message needs: chunks before them are not looked at. */
  let needed = prefixLength;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      waiting.push(chunk);
      length += chunk.length;
      if (length < needed) return done();
      try {
        for (let message = take(); message !== undefined; message = take()) this.push(framed(edit(message)));
        needed = length < prefixLength ? prefixLength : prefixLength + (waiting[0]?.readUInt32BE(1) ?? 0);
        done();
      } catch (thrown) {
        done(thrown as Error);
      }
    },
  });
}

const unitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/** Returns the time of a `grpc-timeout` header in ms. Undefined without one. */
export function timeoutOf(header: string | string[] | undefined): number | undefined {
  const match = typeof header === 'string' ? /^(\d{1,8})([HMSmun])$/.exec(header) : null;
  return match === null ? undefined : Number(match[1]) * (unitMs[match[2] ?? ''] ?? 0);
}

/** Returns a `grpc-timeout` header of at least 1 ms. */
export function timeoutHeader(milliseconds: number): string {
  const whole = Math.max(1, Math.floor(milliseconds));
  return whole < 1e8 ? `${whole}m` : `${Math.min(Math.floor(whole / 1000), 99_999_999)}S`;
}

/** Ends a call with a status: without a message ("Trailers-Only"), or after what was sent already. */
export function endWithStatus(stream: ServerHttp2Stream, status: Partial<StatusObject>): void {
  if (stream.destroyed || stream.closed) return;
  const trailers = {
    'grpc-status': String(status.code ?? 2),
    'grpc-message': percentEncoded(status.details ?? ''),
    ...(status.metadata?.toHttp2Headers() ?? {}),
  };
  if (stream.headersSent) {
    stream.once('wantTrailers', () => stream.sendTrailers(trailers));
    stream.end();
  } else {
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc+proto', ...trailers },
      { endStream: true },
    );
  }
}

/** Printable ASCII but `%` stays ("Percent-Encoded"). */
function percentEncoded(text: string): string {
  return [...Buffer.from(text)]
    .map((byte) =>
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .join('');
}

function badFrame(rpc: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'CRI_BAD_REQUEST',
    kind: 'invalid',
    attempted: 'read message of',
    on: rpc,
    why: `it is not one gRPC message: ${why}`,
    fix: 'send a CRI v1 message',
  });
}

function tooLarge(rpc: string): PortcullisError {
  return new PortcullisError({
    code: 'CRI_MESSAGE_TOO_LARGE',
    kind: 'exhausted',
    attempted: 'read message of',
    on: rpc,
    why: `it has more than ${largestMessage} bytes, the maximum for clients of the CRI`,
    fix: 'request less data, with a filter',
  });
}

function compressed(rpc: string): PortcullisError {
  return new PortcullisError({
    code: 'CRI_COMPRESSED',
    kind: 'unimplemented',
    attempted: 'read message of',
    on: rpc,
    why: 'it is compressed, and the proxy reads only uncompressed messages of this call',
    fix: 'turn off compression in the client',
  });
}
