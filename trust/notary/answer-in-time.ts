import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { networkPeer } from '../../base/connections/index.ts';
import type { ConnectionPlace, Turns } from '../../base/connections/index.ts';
import { answerRequest } from './answer.ts';
import type { AnswerContext } from './answer.ts';

/**
 * Limit in ms for a request from its turn on: its upload, its judging, and the client's reading of the
 * answer.
 */
const longest = 600_000;

/**
 * Maximum number of requests of one connection that wait or are being processed. A client that sends more
 * before it reads is disconnected.
 */
const mostAtOnce = 32;
const asked = new WeakMap<Socket, number>();

/** Number of requests being processed, by connection. */
const underWay = new WeakMap<ConnectionPlace, number>();

/**
 * Answers one request when it is the turn of its address. The place of its connection is busy meanwhile,
 * except while the service waits for the client: during an upload, or while an answer is not read, the
 * connection gives way to another address when places are short. Such a connection ends ten minutes after the
 * turn of its request in any case.
 */
export async function answerInTime(
  context: AnswerContext,
  turns: Turns,
  place: ConnectionPlace | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { socket } = request;
  const isGone = (): boolean => socket.destroyed;
  // The client was disconnected, but Node still delivers the requests that it had already read.
  if (isGone()) return;
  const atOnce = (asked.get(socket) ?? 0) + 1;
  if (atOnce > mostAtOnce) return void socket.destroy();
  asked.set(socket, atOnce);
  response.once('close', () => asked.set(socket, (asked.get(socket) ?? 1) - 1));
  await turns.take(networkPeer(socket.remoteAddress));
  if (isGone() || response.closed) return;
  // The time in which it waits for its turn is not its own.
  const late = setTimeout(() => response.destroy(), longest).unref();
  response.once('close', () => clearTimeout(late));
  if (place === undefined) return answerRequest(context, request, response);
  const count = (by: number): number => {
    const now = (underWay.get(place) ?? 0) + by;
    underWay.set(place, now);
    return now;
  };
  const begin = (): void => {
    count(1);
    place.busy();
  };
  const sendsBody =
    request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
  if (sendsBody) request.once('end', begin);
  else begin();
  let answered = false;
  try {
    await answerRequest(context, request, response);
    answered = true;
  } finally {
    if (!answered) response.destroy();
    const begun = !sendsBody || request.listenerCount('end', begin) === 0;
    request.off('end', begin);
    if (begun && count(-1) === 0) place.idle();
  }
}
