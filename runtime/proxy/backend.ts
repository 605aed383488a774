import { connect as connectHttp2, constants } from 'node:http2';
import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  Http2Session,
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
} from 'node:http2';
import { connect } from 'node:net';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { framed, passedHeaders, readMessage, timeoutHeader } from './grpc.ts';

/** One connection to the backend. It belongs to one connection of a client, whose pace slows no other one. */
export interface BackendConnection {
  /** Begins a call. Connects again if the backend was restarted. */
  begin(path: string, headers: OutgoingHttpHeaders): ClientHttp2Stream;
  /** Returns how many connections are open: none before the first call, and more than one after a restart. */
  connections(): number;
  /** Closes the connection when its last call has ended. */
  close(): void;
}

/** The answer of the backend to a unary call. */
export interface BackendAnswer {
  readonly headers: IncomingHttpHeaders;
  readonly message: Buffer;
  readonly trailers: IncomingHttpHeaders;
}

/** A status other than OK of the backend, to be passed on as it is. */
export class BackendStatus extends Error {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  constructor(rpc: string, headers: IncomingHttpHeaders, trailers: IncomingHttpHeaders) {
    super(`${rpc}: the backend answered with gRPC status ${String(trailers['grpc-status'])}`);
    this.headers = headers;
    this.trailers = trailers;
  }
}

/** HTTP/2 settings for both sides. A stream may have this much unread data in memory. */
export const windowBytes = 256 * 1024;
/** For all streams of a connection together: streams of events that nobody reads do not block the others. */
export const connectionWindowBytes = 64 * windowBytes;
/** In MB: a limit on what one connection keeps in memory. */
export const sessionMegabytes = 128;

/** @param path of the backend's socket */
export function openBackend(path: string): BackendConnection {
  let session: ClientHttp2Session | undefined;
  let isClosed = false;
  const connected = new Set<ClientHttp2Session>();
  const current = (): ClientHttp2Session => {
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    const opened = connectHttp2('http://localhost', {
      createConnection: () => connect(path),
      settings: { enablePush: false, initialWindowSize: windowBytes, maxHeaderListSize: 1024 * 1024 },
      maxSessionMemory: sessionMegabytes,
    });
    // Each call reports the failure of its connection.
    opened.on('error', () => undefined);
    opened.once('connect', () => {
      connected.add(opened);
      opened.setLocalWindowSize(connectionWindowBytes);
    });
    opened.once('close', () => connected.delete(opened));
    session = opened;
    return opened;
  };
  return {
    begin(rpcPath, headers) {
      const used = current();
      const stream = used.request(
        { ...headers, ':method': 'POST', ':scheme': 'http', ':path': rpcPath, ':authority': 'localhost' },
        { endStream: false },
      );
      if (isClosed) stream.once('close', () => used.close());
      return stream;
    },
    connections: () => connected.size,
    close() {
      isClosed = true;
      session?.close();
    },
  };
}

/** A unary call for the backend. */
export interface BackendRequest {
  /** `/runtime.v1.ImageService/PullImage`. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly message: Uint8Array;
  readonly signal: AbortSignal;
  /** When the client stops waiting. */
  readonly deadline?: number;
}

/**
 * Makes a unary call.
 * @param socket for errors
 * @throws BackendStatus; PortcullisError PROXY_BACKEND_UNREACHABLE; the reason of the signal
 */
export async function callBackend(
  backend: BackendConnection,
  socket: string,
  { path, headers, message, signal, deadline }: BackendRequest,
): Promise<BackendAnswer> {
  signal.throwIfAborted();
  const { 'grpc-accept-encoding': _accepted, 'grpc-timeout': _timeout, ...passed } = passedHeaders(headers);
  const stream = backend.begin(path, {
    ...passed,
    ...(deadline !== undefined && { 'grpc-timeout': timeoutHeader(deadline - performance.now()) }),
  });
  const { session } = stream;
  const cancel = (): void => stream.close(constants.NGHTTP2_CANCEL);
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const response = Promise.withResolvers<IncomingHttpHeaders>();
    response.promise.catch(() => undefined);
    let trailers: IncomingHttpHeaders | undefined;
    stream.once('response', (found) => response.resolve(found));
    stream.once('trailers', (found) => (trailers = found));
    stream.once('error', response.reject);
    const closed = new Promise<void>((resolve) => stream.once('close', () => resolve()));
    stream.once('close', () => response.reject(new Error('the connection was closed')));
    stream.end(framed(message));
    const answered = await response.promise;
    const body = await readMessage(stream, path);
    await closed;
    const last = trailers ?? answered;
    if (last['grpc-status'] === undefined) throw new Error('the answer has no status');
    if (last['grpc-status'] !== '0') throw new BackendStatus(path, answered, last);
    return { headers: answered, message: body ?? Buffer.alloc(0), trailers: last };
  } catch (thrown) {
    signal.throwIfAborted();
    if (thrown instanceof BackendStatus || thrown instanceof PortcullisError) throw thrown;
    if (deadline !== undefined && isCancelled(stream, session)) throw deadlinePassed(rpcOf(path));
    throw unreachable(socket, reasonOf(thrown));
  } finally {
    signal.removeEventListener('abort', cancel);
    if (!stream.closed) cancel();
  }
}

/** Returns the name of the call: the last part of its path. */
export const rpcOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** The error of a call that ended before it was answered. */
export function interrupted(
  code: string,
  kind: 'cancelled' | 'deadline' | 'unavailable',
  rpc: string,
  why: string,
): PortcullisError {
  return new PortcullisError({ code, kind, attempted: 'serve', on: rpc, why, fix: 'send the request again' });
}

export function deadlinePassed(rpc: string): PortcullisError {
  return interrupted('CRI_DEADLINE', 'deadline', rpc, "the client's deadline has passed");
}

/**
 * Returns whether the backend cancelled a call: gRPC for Go does so, without a status, when the deadline of
 * the call has passed, and often before the client notices. Node closes the calls of a lost connection with
 * the same code.
 * @param session of the stream when it began, because a closed stream has none
 */
export function isCancelled(stream: ClientHttp2Stream, session: Http2Session | undefined): boolean {
  return stream.rstCode === constants.NGHTTP2_CANCEL && session?.destroyed === false;
}

/** The error of a call that the backend did not answer. */
export function unreachable(socket: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'PROXY_BACKEND_UNREACHABLE',
    kind: 'unavailable',
    attempted: 'pass the call on to the backend at',
    on: socket,
    why,
    fix: 'check whether the backend runs and serves the CRI at this socket, and repeat the call',
  });
}
