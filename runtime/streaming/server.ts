import type { IncomingMessage, Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import {
  connectionsCheckingInterval,
  createHttpServer,
  limitHttpConnections,
} from '../../base/connections/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { watchClients } from './client-watch.ts';
import type { RunCommand } from './command-session.ts';
import type { SessionEnd, SessionKind, SessionPlan, StreamingWorkerData } from './plan.ts';
import { refuse } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import { serveOverSpdy } from './spdy-session.ts';
import type { UpgradeRequest } from './upgrade-request.ts';
import { createWebSocketSessions } from './websocket-session.ts';

/** A request with a valid token. */
export interface Taken {
  readonly plan: SessionPlan;
  ended(how: SessionEnd): void;
}

export interface StreamingServer {
  readonly port: number;
  /** Ends every session and waits for them. */
  close(): Promise<void>;
}

const keepAliveMs = 30_000;
/** Connections without a session: their request is not complete yet, or their URL is no longer valid. */
const mostWithoutSession = 1_024;

/** Serves the URLs that the CRI hands out. */
export async function startStreamingServer(input: {
  readonly options: Pick<StreamingWorkerData, 'address' | 'port' | 'tls' | 'idleTimeoutMs' | 'maxSessions'>;
  readonly take: (kind: SessionKind, token: string) => Promise<Taken | Refusal>;
  readonly command: RunCommand;
}): Promise<StreamingServer> {
  const { options } = input;
  // A request is one line and some headers. A client that does not send them in time is disconnected.
  const limits = {
    headersTimeout: 10_000,
    requestTimeout: 10_000,
    maxHeaderSize: 16 * 1024,
    connectionsCheckingInterval,
  };
  const server: Server =
    options.tls === undefined
      ? createHttpServer(limits)
      : createTlsServer({ ...limits, handshakeTimeout: 10_000, ...options.tls });
  // All clients may come from one address, the kubelet's. At the limit, a new connection therefore replaces a
  // connection without a session.
  const most = options.maxSessions + mostWithoutSession;
  const listener = limitHttpConnections(server, { most, mostOfPeer: most }, options.tls !== undefined);
  const webSockets = createWebSocketSessions({
    idleTimeoutMs: options.idleTimeoutMs,
    command: input.command,
  });
  const clients = watchClients(options.idleTimeoutMs);
  const sessions = new Set<Promise<void>>();

  server.on('request', (_request, response) => {
    response
      .writeHead(400, { 'content-type': 'text/plain', connection: 'close' })
      .end('unable to upgrade: missing upgrade headers in request\n');
  });
  server.on('clientError', (_reason, socket) => socket.destroy());
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    clients.add(socket);
    socket.on('error', () => socket.destroy());
    socket.setKeepAlive(true, keepAliveMs);
    socket.setNoDelay(true);
    socket.on('timeout', () => socket.destroy());
    socket.setTimeout(options.idleTimeoutMs);
    const probeWith = (send: () => void): void => clients.probeWith(socket, send);
    const session = serve({ request, socket, head, probeWith }).catch(() => void socket.destroy());
    sessions.add(session);
    void session.finally(() => sessions.delete(session));
  });

  const serve = async (asked: UpgradeRequest): Promise<void> => {
    const { request, socket } = asked;
    const [, kind, token] =
      /^\/(exec|attach|portforward)\/([\w-]{1,64})(?:\?.*)?$/.exec(request.url ?? '') ?? [];
    if (kind === undefined || token === undefined || !['GET', 'POST'].includes(request.method ?? ''))
      return void refuse(socket, { status: 404, why: '404 page not found' });
    const taken = await input.take(kind as SessionKind, token);
    if ('status' in taken) return void refuse(socket, taken);
    listener.placeOf(socket)?.busy();
    const began = performance.now();
    let how = { protocol: '', outcome: 'failed' };
    try {
      how = await (isWebSocket(request)
        ? webSockets.serve(asked, taken.plan)
        : serveOverSpdy(asked, taken.plan, input.command));
    } catch (cause) {
      how = { ...how, outcome: `failed: ${reasonOf(cause)}` };
      throw cause;
    } finally {
      taken.ended({ ...how, ms: Math.round(performance.now() - began) });
    }
  };

  await new Promise<void>((resolve, reject) =>
    server.once('error', reject).listen(options.port, options.address, resolve),
  );
  // A failed accept. Without a listener it would end the thread, and every session with it.
  server.on('error', () => undefined);
  return {
    port: (server.address() as { readonly port: number }).port,
    close: async () => {
      server.close();
      server.closeAllConnections();
      clients.close();
      await Promise.allSettled(sessions);
      webSockets.close();
    },
  };
}

function isWebSocket(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === 'websocket';
}
