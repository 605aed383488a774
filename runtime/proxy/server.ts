import { status as grpcStatus } from '@grpc/grpc-js';
import { createServer } from 'node:http2';
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { withLogFields } from '../../base/log/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { orAborted } from '../../base/queues/index.ts';
import { connectionBook } from '../cri/connections.ts';
import type { ConnectionBook } from '../cri/connections.ts';
import type { PeerRule } from '../cri/peer.ts';
import { requestIdHeader, requestIdOf } from '../cri/request-id.ts';
import { asFailure, toStatus } from '../cri/status.ts';
import { listenUnix } from '../cri/unix-listener.ts';
import {
  BackendStatus,
  callBackend,
  connectionWindowBytes,
  deadlinePassed,
  interrupted,
  openBackend,
  sessionMegabytes,
  unreachable,
  windowBytes,
} from './backend.ts';
import type { BackendAnswer, BackendConnection, BackendRequest } from './backend.ts';
import type { InterceptedCall, Interceptor, Interceptors } from './calls.ts';
import { endWithStatus, framed, passedHeaders, readMessage, timeoutOf } from './grpc.ts';
import { passOn } from './pass.ts';

export interface ProxyServerOptions {
  readonly socket: string;
  /** The path of the backend's socket. */
  readonly backend: string;
  readonly peers: PeerRule;
  readonly interceptors: Interceptors;
  readonly log: Logger;
  /** How long a lasting call continues after the client has gone or met its deadline. Default: a minute. */
  readonly lastingMs?: number;
  /** Called at the begin of each call of the CRI. Returns the function for its end, with its gRPC status. */
  readonly observe?: ((rpc: string) => (code: number) => void) | undefined;
}

export interface ProxyServer {
  /** Returns how many connections to the backend are open. */
  backendConnections(): number;
  /** Refuses new connections and cancels the calls that still run after `graceMs`. */
  close(graceMs?: number): Promise<void>;
}

/** The package and the services of the CRI. A socket of containerd serves other interfaces, too. */
const criPath = /^\/runtime\.v1\.((?:RuntimeService|ImageService)\/([A-Za-z0-9]{1,100}))$/;

/** The context that the calls of one server share. */
interface Site extends ProxyServerOptions {
  readonly connections: ConnectionBook;
  readonly closing: AbortSignal;
}

/**
 * Serves the CRI in front of another runtime. A call of an interceptor is read; any other call of the two
 * services is passed on as it is, also one that this version does not know. Calls of other services are
 * refused: through them, images and containers could be created without a verdict.
 * @throws the errors of `listenUnix`
 */
export async function createProxyServer(options: ProxyServerOptions): Promise<ProxyServer> {
  const connections = connectionBook({ rule: options.peers, log: options.log });
  const closing = new AbortController();
  const site: Site = { ...options, connections, closing: closing.signal };
  const running = new Set<Promise<void>>();
  const server = createServer({
    settings: {
      initialWindowSize: windowBytes,
      maxConcurrentStreams: 1_000,
      maxHeaderListSize: 64 * 1024,
    },
    maxSessionMemory: sessionMegabytes,
  });
  const sessions = new Map<ServerHttp2Session, BackendConnection>();
  server.on('session', (session: ServerHttp2Session) => {
    session.setLocalWindowSize(connectionWindowBytes);
    const backend = openBackend(options.backend);
    sessions.set(session, backend);
    session.on('error', () => undefined);
    session.once('close', () => {
      sessions.delete(session);
      backend.close();
    });
    const name = String(session.socket.remoteAddress);
    session.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      stream.on('error', () => undefined);
      connections.callBegins(name);
      observeCall(options.observe, stream, headers);
      const call = serve(site, stream, headers, backend, name).finally(() => {
        connections.callEnds(name);
        running.delete(call);
      });
      running.add(call);
    });
  });
  // Without these, a failed connection would end the process.
  server.on('sessionError', () => undefined);
  server.on('error', () => undefined);
  const listener = await listenUnix(options.socket, {
    group: options.peers.gids[0] ?? 0,
    onConnection: (socket: Socket) => {
      socket.on('error', () => undefined);
      if (!closing.signal.aborted && connections.admit(socket)) server.emit('connection', socket);
      else socket.destroy();
    },
  });
  return {
    backendConnections: () => [...sessions.values()].reduce((sum, one) => sum + one.connections(), 0),
    async close(graceMs = 1000) {
      listener.close();
      for (const session of sessions.keys()) session.close();
      await Promise.race([Promise.allSettled(running), sleep(graceMs, undefined, { ref: false })]);
      closing.abort(closed());
      for (const session of sessions.keys()) session.destroy();
      connections.destroyAll();
    },
  };
}

/** Observes a call until its stream is closed, which may be after its answer was sent. */
function observeCall(
  observe: ProxyServerOptions['observe'],
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
): void {
  const [, , rpc] = criPath.exec(headers[':path'] ?? '') ?? [];
  if (observe === undefined || rpc === undefined) return;
  const end = observe(rpc);
  stream.once('close', () => {
    const inHeaders = stream.headersSent ? stream.sentHeaders['grpc-status'] : undefined;
    const status = stream.sentTrailers?.['grpc-status'] ?? inHeaders;
    end(status === undefined ? grpcStatus.CANCELLED : Number(status));
  });
}

/** Serves one call to its end. Never rejects. */
function serve(
  site: Site,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  backend: BackendConnection,
  connection: string,
): Promise<void> {
  const given = headers[requestIdHeader];
  const requestId = requestIdOf(typeof given === 'string' ? given : undefined);
  return withLogFields({ request: requestId }, () =>
    serveNamed(site, stream, headers, { backend, connection, requestId }).catch((thrown: unknown) => {
      site.log.error({ why: reasonOf(thrown) }, 'a call failed unexpectedly');
      stream.destroy();
    }),
  );
}

interface Place {
  readonly backend: BackendConnection;
  readonly connection: string;
  readonly requestId: string;
}

async function serveNamed(
  site: Site,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  place: Place,
): Promise<void> {
  const path = headers[':path'] ?? '';
  const [, method = '', rpc = ''] = criPath.exec(path) ?? [];
  if (headers[':method'] !== 'POST' || method === '') {
    endWithStatus(stream, toStatus(otherService(path), 'call', place.requestId));
    stream.resume();
    return;
  }
  const interceptor = Object.hasOwn(site.interceptors.calls, method)
    ? site.interceptors.calls[method]
    : undefined;
  if (interceptor !== undefined)
    return intercept(site, interceptor, stream, headers, { ...place, path, rpc });
  const edit = Object.hasOwn(site.interceptors.streams, method)
    ? site.interceptors.streams[method]
    : undefined;
  const started = performance.now();
  const { requestId } = place;
  let status;
  try {
    const call = { path, socket: site.backend, requestId, edit };
    status = await passOn(stream, headers, place.backend, call);
  } catch (thrown) {
    status = fail(site, stream, unreachable(site.backend, reasonOf(thrown)), rpc, requestId);
  }
  site.log.debug({ rpc, connection: place.connection, status, ms: since(started) }, 'call passed on');
}

async function intercept(
  site: Site,
  interceptor: Interceptor,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  call: Place & { readonly path: string; readonly rpc: string },
): Promise<void> {
  const { path, rpc, connection, requestId, backend } = call;
  const started = performance.now();
  const abort = new AbortController();
  const stop = (code: string, kind: 'cancelled' | 'unavailable', why: string) => (): void =>
    abort.abort(interrupted(code, kind, rpc, why));
  const onClosing = stop('CRI_CLOSING', 'unavailable', 'the proxy is stopping');
  stream.once('close', stop('CRI_CANCELLED', 'cancelled', 'the client cancelled the call or disconnected'));
  site.closing.addEventListener('abort', onClosing, { once: true });
  const timeout = timeoutOf(headers['grpc-timeout']);
  const expire = (): void => abort.abort(deadlinePassed(rpc));
  const timer =
    timeout === undefined ? undefined : setTimeout(expire, Math.min(timeout, 0x7fff_ffff)).unref();
  const deadline = timeout === undefined ? {} : { deadline: started + timeout };
  const { signal } = abort;
  const callsUntil = (ends: Pick<BackendRequest, 'signal' | 'deadline'>): InterceptedCall['lasting'] => {
    const send = (to: string, message: Uint8Array): Promise<BackendAnswer> =>
      callBackend(backend, site.backend, { path: to, headers, message, ...ends });
    return {
      forward: (message) => send(path, message),
      ask: async (other, message) => (await send(`/runtime.v1.${other}`, message)).message,
    };
  };
  const { lastingMs = 60_000 } = site;
  const last = new AbortController();
  let lastTimer: NodeJS.Timeout | undefined;
  const onGone = (): void => {
    lastTimer = setTimeout(() => last.abort(signal.reason), lastingMs).unref();
  };
  signal.addEventListener('abort', onGone, { once: true });
  const lasting = {
    signal: AbortSignal.any([site.closing, last.signal]),
    ...(timeout !== undefined && { deadline: started + timeout + lastingMs }),
  };
  let work: Promise<BackendAnswer> | undefined;
  let code: string | undefined;
  try {
    const peer = site.connections.peerOf(connection);
    if (peer === undefined) throw interrupted('CRI_CANCELLED', 'cancelled', rpc, 'its connection was closed');
    const request = await readMessage(stream, rpc);
    const intercepted: InterceptedCall = {
      request: request ?? Buffer.alloc(0),
      ...{ signal, requestId, peer },
      ...callsUntil({ signal, ...deadline }),
      lasting: callsUntil(lasting),
    };
    work = interceptor(intercepted);
    answer(stream, await orAborted(work, signal));
  } catch (thrown) {
    code = fail(site, stream, signal.aborted ? signal.reason : thrown, rpc, requestId);
  } finally {
    clearTimeout(timer);
    site.closing.removeEventListener('abort', onClosing);
    site.log.debug({ rpc, connection, code, ms: since(started) }, 'call');
  }
  // It may still record the result of a lasting call.
  await work?.catch(() => undefined);
  signal.removeEventListener('abort', onGone);
  clearTimeout(lastTimer);
}

/** Sends the answer of an interceptor, with the headers and trailers of the backend. */
function answer(stream: ServerHttp2Stream, { headers, message, trailers }: BackendAnswer): void {
  if (stream.destroyed || stream.closed) return;
  const { 'grpc-encoding': _encoding, ...first } = passedHeaders(headers);
  stream.respond({ ...first, ':status': 200 }, { waitForTrailers: true });
  stream.once('wantTrailers', () => stream.sendTrailers(passedHeaders(trailers)));
  stream.end(framed(message));
}

/** Answers with a failure. Returns its code. */
function fail(
  site: Site,
  stream: ServerHttp2Stream,
  thrown: unknown,
  rpc: string,
  requestId: string,
): string {
  // The rest of a request that was not read.
  stream.resume();
  if (thrown instanceof BackendStatus) {
    if (!stream.destroyed && !stream.closed)
      stream.respond(
        { ...passedHeaders(thrown.headers), ...passedHeaders(thrown.trailers), ':status': 200 },
        { endStream: true },
      );
    return String(thrown.trailers['grpc-status']);
  }
  const failure = asFailure(thrown, rpc);
  if (failure.code === 'CRI_INTERNAL')
    site.log.error({ rpc, err: String((thrown as Error).stack ?? thrown) }, 'a call failed unexpectedly');
  else site.log.info({ rpc, code: failure.code, why: failure.message }, 'call failed');
  endWithStatus(stream, toStatus(failure, rpc, requestId));
  return failure.code;
}

const since = (started: number): number => Math.round((performance.now() - started) * 10) / 10;

function closed(): PortcullisError {
  return interrupted('CRI_CLOSING', 'unavailable', 'the call', 'the proxy is stopping');
}

function otherService(path: string): PortcullisError {
  return new PortcullisError({
    code: 'PROXY_OTHER_SERVICE',
    kind: 'unimplemented',
    attempted: 'pass on a call of',
    on: JSON.stringify(path.slice(0, 200)),
    why: 'the proxy serves only runtime.v1.RuntimeService and runtime.v1.ImageService, because calls of other services would not need a verdict',
    fix: 'use a client of the CRI, such as a kubelet or crictl',
  });
}
