import { createServer } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { WebSocketServer, createWebSocketStream } from 'ws';
import type { WebSocket } from 'ws';
import { connectionsCheckingInterval, openHttpDoor } from '../../base/connections/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { hasHungUp } from '../../base/kernel/index.ts';
import type { CommandStreams } from './command-streams.ts';
import { finishMs } from './command-streams.ts';
import type { Outcome } from './outcome.ts';
import type { AttachPlan, ExecPlan, ForwardPlan, SessionEnd, SessionKind, SessionPlan, StreamingWorkerData } from './plan.ts';
import {
  forwardChannelNames,
  forwardName,
  listOf,
  negotiateSpdyCommand,
  negotiateWebSocketCommand,
  spdyCommandNames,
  tunnelName,
} from './protocols.ts';
import { spdyCommandStreams } from './spdy-command.ts';
import { serveSpdyForward } from './spdy-forward.ts';
import { webSocketCommandStreams } from './websocket-command.ts';
import { serveWebSocketForward } from './websocket-forward.ts';

/** A request with a valid token. */
export interface Taken {
  readonly plan: SessionPlan;
  ended(how: SessionEnd): void;
}

export interface Refusal {
  readonly status: 400 | 403 | 404 | 429;
  readonly why: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface StreamingServer {
  readonly port: number;
  /** Ends every session and waits for them. */
  close(): Promise<void>;
}

const keepAliveMs = 30_000;
const watchMs = 2_000;
/** Connections without a session: their request is not complete yet, or their URL is no longer valid. */
const mostWithoutSession = 1_024;
/** In ms: how long a refused client may take to read the reason and to close. */
const refusedMs = 2_000;
const largestMessage = 16 * 1024 * 1024;

/** Serves the URLs that the CRI hands out. */
export async function startStreamingServer(input: {
  readonly options: Pick<StreamingWorkerData, 'address' | 'port' | 'tls' | 'idleTimeoutMs' | 'maxSessions'>;
  readonly take: (kind: SessionKind, token: string) => Promise<Taken | Refusal>;
  readonly command: (plan: ExecPlan | AttachPlan, streams: CommandStreams) => Promise<Outcome>;
}): Promise<StreamingServer> {
  const { options } = input;
  // A request is one line and some headers. A client that does not send them in time is disconnected.
  const limits = { headersTimeout: 10_000, requestTimeout: 10_000, maxHeaderSize: 16 * 1024, connectionsCheckingInterval };
  const server: Server =
    options.tls === undefined ? createServer(limits) : createTlsServer({ ...limits, handshakeTimeout: 10_000, ...options.tls });
  // All clients may come from one address, the kubelet's. At the limit, a new connection therefore replaces a
  // connection without a session.
  const most = options.maxSessions + mostWithoutSession;
  const door = openHttpDoor(server, { most, mostOfPeer: most }, options.tls !== undefined);
  // The package's types do not declare `closeTimeout` yet.
  const webSocketOptions = {
    noServer: true,
    perMessageDeflate: false,
    maxPayload: largestMessage,
    closeTimeout: finishMs,
    // `upgrade` has chosen the protocol; `ws` calls this in the same turn.
    handleProtocols: () => answer || false,
  };
  const webSockets = new WebSocketServer(webSocketOptions);
  /** The open sockets, and how many bytes each had received at the last check. */
  const sockets = new Map<Socket, number>();
  const sessions = new Set<Promise<void>>();

  server.on('request', (_request, response) => {
    response
      .writeHead(400, { 'content-type': 'text/plain', connection: 'close' })
      .end('unable to upgrade: missing upgrade headers in request\n');
  });
  server.on('clientError', (_reason, socket) => socket.destroy());
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    sockets.set(socket, -1);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => sockets.delete(socket));
    socket.setKeepAlive(true, keepAliveMs);
    socket.setNoDelay(true);
    socket.on('timeout', () => socket.destroy());
    socket.setTimeout(options.idleTimeoutMs);
    const session = serve(request, socket, head).catch(() => void socket.destroy());
    sessions.add(session);
    void session.finally(() => sessions.delete(session));
  });

  // A socket is not read while the command accepts no more input, and does not report then that its client
  // has disconnected.
  const watch = setInterval(() => {
    for (const [socket, before] of sockets) {
      if (socket.bytesRead === before && clientHasGone(socket)) socket.destroy();
      sockets.set(socket, socket.bytesRead);
    }
  }, watchMs);

  const serve = async (request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> => {
    const [, kind, token] = /^\/(exec|attach|portforward)\/([\w-]{1,64})(?:\?.*)?$/.exec(request.url ?? '') ?? [];
    if (kind === undefined || token === undefined || !['GET', 'POST'].includes(request.method ?? ''))
      return void refuse(socket, { status: 404, why: '404 page not found' });
    const taken = await input.take(kind as SessionKind, token);
    if ('status' in taken) return void refuse(socket, taken);
    door.placeOf(socket)?.busy();
    const began = performance.now();
    let how = { protocol: '', outcome: 'failed' };
    try {
      how = await (isWebSocket(request) ? overWebSocket : overSpdy)(request, socket, head, taken.plan);
    } catch (cause) {
      how = { ...how, outcome: `failed: ${reasonOf(cause)}` };
      throw cause;
    } finally {
      taken.ended({ ...how, ms: Math.round(performance.now() - began) });
    }
  };

  type End = Omit<SessionEnd, 'ms'>;
  const overSpdy = async (request: IncomingMessage, socket: Socket, head: Buffer, plan: SessionPlan): Promise<End> => {
    const offered = listOf(request.headers['x-stream-protocol-version']);
    const protocol = plan.kind === 'portforward' ? undefined : negotiateSpdyCommand(offered);
    const name =
      protocol?.name ?? (plan.kind === 'portforward' && (offered.length === 0 || offered.includes(forwardName)) ? forwardName : undefined);
    if (name === undefined) {
      const known = plan.kind === 'portforward' ? [forwardName] : spdyCommandNames;
      return refuse(socket, {
        status: 403,
        why: `unable to upgrade: unable to negotiate protocol: client supports [${offered.join(' ')}], server accepts [${known.join(' ')}]`,
        headers: { 'X-Accepted-Stream-Protocol-Versions': known.join(', ') },
      });
    }
    if (request.headers.upgrade?.toLowerCase() !== 'spdy/3.1')
      return refuse(socket, {
        status: 400,
        why: `unable to upgrade: missing upgrade headers in request: ${String(request.headers.upgrade)}`,
      });
    const version = offered.length === 0 ? '' : `X-Stream-Protocol-Version: ${name}\r\n`;
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n${version}\r\n`);
    if (plan.kind === 'portforward') {
      await serveSpdyForward({ socket, head, plan });
      return { protocol: `SPDY/3.1 ${name}`, outcome: 'closed' };
    }
    if (protocol === undefined) return { protocol: '', outcome: 'refused' };
    const streams = await spdyCommandStreams({ socket, head, protocol, asked: plan.streams });
    if (streams === undefined) return { protocol: `SPDY/3.1 ${name}`, outcome: 'the client opened no streams' };
    return runCommand(plan, streams, `SPDY/3.1 ${name}`);
  };

  const overWebSocket = async (request: IncomingMessage, socket: Socket, head: Buffer, plan: SessionPlan): Promise<End> => {
    const offered = listOf(request.headers['sec-websocket-protocol']);
    const refusal: Refusal = { status: 403, why: `unable to negotiate protocol: client supports [${offered.join(' ')}]` };
    if (plan.kind === 'portforward') {
      const name =
        offered.find((one) => one === tunnelName || (forwardChannelNames as readonly string[]).includes(one)) ??
        (offered.length === 0 ? '' : undefined);
      if (name === undefined) return refuse(socket, refusal);
      const webSocket = await upgrade(request, socket, head, name);
      await (name === tunnelName ? tunnel(webSocket, plan) : serveWebSocketForward(webSocket, { base64: name.includes('base64') }, plan));
      return { protocol: `WebSocket ${name}`, outcome: 'closed' };
    }
    const protocol = negotiateWebSocketCommand(offered);
    if (protocol === undefined) return refuse(socket, refusal);
    const webSocket = await upgrade(request, socket, head, protocol.name);
    return runCommand(plan, webSocketCommandStreams(webSocket, protocol, plan.streams), `WebSocket ${protocol.name}`);
  };

  const runCommand = async (plan: ExecPlan | AttachPlan, streams: CommandStreams, protocol: string): Promise<End> => {
    const outcome = await input.command(plan, streams);
    const gone = streams.gone.aborted;
    if (!gone) await streams.finish(outcome);
    const said = outcome.kind === 'exit' ? `exit ${outcome.code}` : outcome.kind === 'failure' ? outcome.why : 'success';
    return { protocol, outcome: gone ? 'the client went' : said };
  };

  const upgrade = (request: IncomingMessage, socket: Socket, head: Buffer, name: string): Promise<WebSocket> =>
    new Promise((resolve, reject) => {
      socket.once('close', () => reject(new Error('gone')));
      answer = name;
      // `ws` refuses a "/" in a name, as in `SPDY/3.1+portforward.k8s.io`, so it gets a name that it accepts.
      if (name !== '') request.headers['sec-websocket-protocol'] = 'negotiated';
      webSockets.handleUpgrade(request, socket, head, resolve);
      // `ws` removes the timeout.
      socket.setTimeout(options.idleTimeoutMs);
    });
  let answer = '';

  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(options.port, options.address, resolve));
  // A failed accept. Without a listener it would end the thread, and every session with it.
  server.on('error', () => undefined);
  return {
    port: (server.address() as { readonly port: number }).port,
    close: async () => {
      clearInterval(watch);
      server.close();
      server.closeAllConnections();
      for (const socket of sockets.keys()) socket.destroy();
      await Promise.allSettled(sessions);
      webSockets.close();
    },
  };
}

/** SPDY within WebSocket messages, without another upgrade (client-go, tunneling dialer). */
async function tunnel(webSocket: WebSocket, plan: ForwardPlan): Promise<void> {
  const socket = createWebSocketStream(webSocket, { allowHalfOpen: false });
  await serveSpdyForward({ socket, head: Buffer.alloc(0), plan });
  webSocket.terminate();
}

function clientHasGone(socket: Socket): boolean {
  // Node has no public API for it. A TLS socket shows the descriptor of the connection below.
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
  try {
    return fd >= 0 && hasHungUp(fd);
  } catch {
    return false;
  }
}

function isWebSocket(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === 'websocket';
}

const statusTexts = { 400: 'Bad Request', 403: 'Forbidden', 404: 'Not Found', 429: 'Too Many Requests' } as const;

function refuse(socket: Socket, { status, why, headers = {} }: Refusal): Omit<SessionEnd, 'ms'> {
  const more = Object.entries({ ...headers, ...(status === 429 && { 'Retry-After': '10' }) }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  const body = `${why}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${statusTexts[status]}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n${more.join('')}\r\n${body}`,
  );
  socket.resume();
  // A client that keeps sending does not keep the connection either.
  const late = setTimeout(() => socket.destroy(), refusedMs).unref();
  socket.once('close', () => clearTimeout(late));
  return { protocol: '', outcome: `refused: ${why}` };
}
