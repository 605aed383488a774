import type { Duplex } from 'node:stream';
import { isPortcullisError, PortcullisError, reasonOf, statusCodes } from '../errors/index.ts';
import type { ErrorKind } from '../errors/index.ts';
import type { Init } from '../protobuf/index.ts';
import { openConnection } from './connection.ts';
import type { Connection, ConnectionOptions } from './connection.ts';
import { frameType, longestData } from './frames.ts';
import type { Frame } from './frames.ts';
import { decodeMetadata, requestCodec, responseCodec } from './messages.ts';
import type { Metadata, TtrpcMethod } from './messages.ts';

export interface ServedCall {
  readonly metadata: Metadata;
  /** Aborts when the connection ends, or the time for the call is over. */
  readonly signal: AbortSignal;
}

/** One method that a server offers. */
export interface TtrpcHandler {
  readonly service: string;
  readonly name: string;
  /** Decodes the request, calls the handler, and encodes its response. */
  readonly serve: (payload: Buffer, call: ServedCall) => Promise<Buffer>;
}

/** Returns a method with the function that serves it. A request that is not a message is INVALID_ARGUMENT. */
export function ttrpcHandler<Request, Response>(
  method: TtrpcMethod<Request, Response>,
  serve: (request: Request, call: ServedCall) => Promise<Init<Response>> | Init<Response>,
): TtrpcHandler {
  const { service, name } = method;
  return {
    service,
    name,
    serve: async (payload, call) => {
      let request: Request;
      try {
        request = method.request.decode(payload);
      } catch (thrown) {
        throw refusal(
          'TTRPC_BAD_REQUEST',
          'invalid',
          `${service}/${name}`,
          reasonOf(thrown),
          'send a valid message',
        );
      }
      return method.response.encode(await serve(request, call));
    },
  };
}

export interface ServerOptions extends ConnectionOptions {
  /** Maximum number of calls at a time. At this number the server stops reading. Default: 64. */
  readonly mostCalls?: number;
  /** Maximum time for a call. A shorter deadline of the client has precedence. Default: 30 seconds. */
  readonly callTimeoutMs?: number;
}

export interface TtrpcServer {
  /** Resolves when the connection ended, with the reason unless this side closed it. Never rejects. */
  readonly closed: Promise<PortcullisError | undefined>;
  /** Ends the connection and aborts the signals of its calls. */
  close(): void;
}

/** Bytes of requests that may be served at a time, beyond the first one. */
const mostServed = 2 * longestData;
const longestMessage = 8 * 1024;

/**
 * Serves methods on one connection (containerd/ttrpc, PROTOCOL.md 1.0: unary calls; a call that opens a
 * stream is UNIMPLEMENTED). While a peer has its maximum of calls, or does not read its answers, nothing more
 * is read from it.
 * @param stream an open connection; it belongs to the server from now on
 */
export function serveTtrpc(
  stream: Duplex,
  handlers: readonly TtrpcHandler[],
  { mostCalls = 64, callTimeoutMs = 30_000, ...options }: ServerOptions,
): TtrpcServer {
  const methods = new Map(handlers.map((handler) => [`${handler.service}/${handler.name}`, handler]));
  const ending = new AbortController();
  let last = 0;
  let calls = 0;
  let served = 0;

  const receive = ({ stream: id, type, flags, data }: Frame): void => {
    // A client that opened a stream sends its data before it sees that the call was refused.
    if (type === frameType.data && id <= last) return;
    if (type !== frameType.request) throw new Error(`the peer sent a frame of type ${type} to a server`);
    if (id % 2 === 0 || id <= last) throw new Error(`the peer used the number ${id} for a new call`);
    last = id;
    calls += 1;
    served += data.length;
    if (calls >= mostCalls || served > mostServed) connection.pause();
    void answer(methods, flags, data, callTimeoutMs, ending.signal).then((response) => {
      calls -= 1;
      served -= data.length;
      connection.send(id, frameType.response, response);
      resume();
    });
  };
  const resume = (): void => {
    if (connection.congested()) {
      connection.pause();
      connection.drained(resume);
    } else if (calls < mostCalls && served <= mostServed) connection.resume();
  };
  const connection: Connection = openConnection(stream, options, receive, () => ending.abort());
  return { closed: connection.closed, close: () => connection.close() };
}

/** Returns the bytes of the response to one request. Never rejects. */
async function answer(
  methods: ReadonlyMap<string, TtrpcHandler>,
  flags: number,
  data: Buffer,
  longestMs: number,
  ended: AbortSignal,
): Promise<Buffer> {
  try {
    const { service, method, payload, timeoutNano, metadata } = decodeRequest(data);
    const on = `${service}/${method}`;
    const handler = methods.get(on);
    if (handler === undefined)
      throw refusal(
        'TTRPC_UNIMPLEMENTED',
        'unimplemented',
        on,
        'the service has no such method',
        'call a method of the service',
      );
    if (flags !== 0)
      throw refusal(
        'TTRPC_UNIMPLEMENTED',
        'unimplemented',
        on,
        'it is a unary method, not a stream',
        'make a unary call',
      );
    const ms = timeoutNano > 0n ? Math.min(longestMs, Number(timeoutNano / 1_000_000n) + 1) : longestMs;
    const call = {
      metadata: decodeMetadata(metadata),
      signal: AbortSignal.any([ended, AbortSignal.timeout(ms)]),
    };
    const response = responseCodec.encode({
      payload: await within(handler.serve(payload, call), call.signal, on),
    });
    if (response.length > longestData)
      throw refusal(
        'TTRPC_TOO_LARGE',
        'exhausted',
        on,
        `the answer has ${response.length} bytes`,
        'ask for less data',
      );
    return response;
  } catch (thrown) {
    const code = isPortcullisError(thrown) ? statusCodes[thrown.kind] : statusCodes.internal;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return responseCodec.encode({ status: { code, message: message.slice(0, longestMessage) } });
  }
}

function decodeRequest(data: Buffer): ReturnType<typeof requestCodec.decode> {
  try {
    return requestCodec.decode(data);
  } catch (thrown) {
    throw refusal('TTRPC_BAD_REQUEST', 'invalid', 'a request', reasonOf(thrown), 'send a valid message');
  }
}

/** Rejects as soon as the signal aborts, whatever the handler does. */
async function within<Value>(result: Promise<Value>, signal: AbortSignal, on: string): Promise<Value> {
  const over = Promise.withResolvers<never>();
  const abort = (): void =>
    over.reject(refusal('TTRPC_TIMEOUT', 'deadline', on, 'the call exceeded its time limit', 'try again'));
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([result, over.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function refusal(code: string, kind: ErrorKind, on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code, kind, attempted: 'serve', on, why, fix });
}
