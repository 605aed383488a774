import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { Server as HttpsServer } from 'node:https';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { createConnectionSlots } from './connection-slots.ts';
import type { ConnectionSlots, ConnectionLimits, ConnectionPlace } from './connection-slots.ts';
import { networkPeer } from './peer.ts';
import { serveRequest } from './serve-request.ts';

/** Bounds the connections of an HTTP server. */
export interface HttpConnections {
  /**
   * Returns the slot of a request's connection. Undefined if the connection is closed, or was closed in
   * favour of another.
   */
  placeOf(socket: Ends): ConnectionPlace | undefined;
  /**
   * Answers one request within the limits of its connection (serve-request.ts).
   * @param answer called unless the client is disconnected; a rejection ends the request
   */
  serve(request: IncomingMessage, response: ServerResponse, answer: () => Promise<void>): void;
  readonly counts: ConnectionSlots['counts'];
}

/** With TLS, a request's socket is not the accepted socket, but has the same addresses and ports. */
type Ends = Pick<Socket, 'remoteAddress' | 'remotePort'>;

/**
 * How often the server looks for clients that sent only part of a request, or nothing, in ms. It disconnects
 * them in time.
 */
export const connectionsCheckingInterval = 5_000;

/**
 * Handles the connections of a server before the server does, and counts them by address
 * (connection-slots.ts). A connection without a slot gets 503 and is closed. If the server speaks TLS, it is
 * closed without an answer.
 * @param server a server that has no other `connection` listener than its own, and does not listen yet
 */
export function limitHttpConnections(
  server: Server,
  limits: ConnectionLimits,
  encrypted: boolean,
): HttpConnections {
  const slots = createConnectionSlots(limits);
  const places = new Map<string, ConnectionPlace>();
  const own = server.listeners('connection') as ((socket: Socket) => void)[];
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    const place = slots.admit(networkPeer(socket.remoteAddress), () => socket.destroy());
    if (place === undefined) return refuse(socket, encrypted);
    const name = nameOf(socket);
    places.set(name, place);
    socket.once('close', () => {
      place.leave();
      if (places.get(name) === place) places.delete(name);
    });
    for (const accept of own) accept.call(server, socket);
  });
  const placeOf = (socket: Ends): ConnectionPlace | undefined => places.get(nameOf(socket));
  return {
    placeOf,
    serve: (request, response, answer) => serveRequest(placeOf(request.socket), request, response, answer),
    counts: slots.counts,
  };
}

const nameOf = ({ remoteAddress, remotePort }: Ends): string =>
  `${remoteAddress ?? ''} ${String(remotePort)}`;

const body = 'too many connections are open\n';
const unavailable = Buffer.from(
  `HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 10\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
);

function refuse(socket: Socket, encrypted: boolean): void {
  socket.on('error', () => undefined);
  if (encrypted) return void socket.destroy();
  // Data that the client still sends is not read. A client that reads nothing holds no resources.
  socket.end(unavailable, () => socket.destroy());
}

/** In ms, for a service with small requests. A request that is not complete in time is ended. */
export const smallRequestLimits = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 120_000,
  connectionsCheckingInterval,
};

/** Identity of a server, in PEM. */
export interface ServerIdentity {
  readonly certificate: string;
  readonly key: string;
  /**
   * Authorities of clients that may identify themselves by certificates. A client without a certificate is
   * not refused, because it may have a token.
   */
  readonly clientAuthorities?: string;
}

/**
 * Creates a server that speaks HTTPS, from TLS 1.2 on.
 * @throws if the certificate, the key or an authority is not valid
 */
export function createHttpsServer(
  timeLimits: typeof smallRequestLimits,
  { certificate, key, clientAuthorities }: ServerIdentity,
  listener: RequestListener,
): HttpsServer {
  return createServer(
    {
      ...timeLimits,
      handshakeTimeout: timeLimits.headersTimeout,
      cert: certificate,
      key,
      minVersion: 'TLSv1.2',
      ...(clientAuthorities !== undefined && {
        ca: clientAuthorities,
        requestCert: true,
        rejectUnauthorized: false,
      }),
    },
    listener,
  );
}
