import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { createConnectionGate } from './gate.ts';
import type { ConnectionGate, ConnectionLimits, ConnectionPlace } from './gate.ts';
import { networkPeer } from './peer.ts';

/** Bounds the connections of an HTTP server. */
export interface HttpDoor {
  /** The place of a request's connection. Undefined when it is closed, or was ended in favour of another. */
  placeOf(socket: Ends): ConnectionPlace | undefined;
  readonly counts: ConnectionGate['counts'];
}

/** With TLS a request's socket is not the one that was accepted, but has the same ends. */
type Ends = Pick<Socket, 'remoteAddress' | 'remotePort'>;

/** Who sends half of a request, or none, is cut off in time; the server looks at it so often. In ms. */
export const connectionsCheckingInterval = 5_000;

/**
 * Takes the connections of a server before the server does, and counts them by address (gate.ts). One without a place gets 503 and is closed; where the
 * server speaks TLS it is closed.
 * @param server one that has nothing but its own listener of `connection`, and does not listen yet
 */
export function openHttpDoor(server: Server, limits: ConnectionLimits, encrypted: boolean): HttpDoor {
  const gate = createConnectionGate(limits);
  const places = new Map<string, ConnectionPlace>();
  const own = server.listeners('connection') as ((socket: Socket) => void)[];
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    const place = gate.admit(networkPeer(socket.remoteAddress), () => socket.destroy());
    if (place === undefined) return refuse(socket, encrypted);
    const name = nameOf(socket);
    places.set(name, place);
    socket.once('close', () => {
      place.leave();
      if (places.get(name) === place) places.delete(name);
    });
    for (const accept of own) accept.call(server, socket);
  });
  return { placeOf: (socket) => places.get(nameOf(socket)), counts: gate.counts };
}

const nameOf = ({ remoteAddress, remotePort }: Ends): string => `${remoteAddress ?? ''} ${String(remotePort)}`;

const body = 'too many connections are open\n';
const unavailable = Buffer.from(
  `HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 10\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
);

function refuse(socket: Socket, encrypted: boolean): void {
  socket.on('error', () => undefined);
  if (encrypted) return void socket.destroy();
  // What the client still sends is not read; a client that reads nothing holds nothing.
  socket.end(unavailable, () => socket.destroy());
}
