import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { ConnectionPlace } from './connection-slots.ts';

/**
 * Maximum number of requests of one connection whose answers the client has not read. A client that sends
 * more is disconnected. Each request takes memory, and a client can send thousands of them in one packet.
 */
const mostUnread = 32;
/** Limit in ms for a request: from its head on until the client has read the answer. */
const longestMs = 600_000;

const unreadOf = new WeakMap<Socket, number>();
/** Number of requests that are being answered, by connection. */
const underWay = new WeakMap<ConnectionPlace, number>();

/**
 * Answers one request within the limits of its connection. The slot of the connection is busy until the
 * answer is complete. While the client does not read the answer, the connection gives way to another one if
 * slots are short.
 * @param answer called unless the client is disconnected; a rejection ends the request
 */
export function serveRequest(
  place: ConnectionPlace | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  answer: () => Promise<void>,
): void {
  const { socket } = request;
  // The client was disconnected, but Node still delivers the requests that it had already read.
  if (socket.destroyed) return;
  const unread = (unreadOf.get(socket) ?? 0) + 1;
  if (unread > mostUnread) return void socket.destroy();
  unreadOf.set(socket, unread);
  const late = setTimeout(() => response.destroy(), longestMs).unref();
  response.once('close', () => {
    clearTimeout(late);
    unreadOf.set(socket, (unreadOf.get(socket) ?? 1) - 1);
  });
  count(place, 1);
  place?.busy();
  void answer()
    .catch(() => response.destroy())
    .finally(() => {
      if (count(place, -1) === 0) place?.idle();
    });
}

function count(place: ConnectionPlace | undefined, by: number): number {
  if (place === undefined) return 0;
  const now = (underWay.get(place) ?? 0) + by;
  underWay.set(place, now);
  return now;
}
