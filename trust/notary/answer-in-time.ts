import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { networkPeer } from '../../base/connections/index.ts';
import type { ConnectionPlace, Turns } from '../../base/connections/index.ts';
import { answerRequest } from './answer.ts';
import type { AnswerContext } from './answer.ts';

/** In ms: for a request with its upload, for judging it, and for the client to read the answer. */
const longest = 600_000;

/** Requests of one connection that wait or are worked on: a client that sends more before it reads is cut off. */
const mostAtOnce = 32;
const asked = new WeakMap<Socket, number>();

/** How many of a connection's requests are worked on. */
const underWay = new WeakMap<ConnectionPlace, number>();

/**
 * Answers one request when it is its address's turn, and holds its connection's place meanwhile. What the client takes its time for is not held: an upload that still comes, or an answer
 * that is not read, gives way to another address where places are short, and ends after ten minutes anyway.
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
  // Of a client that was cut off: Node goes on with what it had read of it.
  if (isGone()) return;
  const atOnce = (asked.get(socket) ?? 0) + 1;
  if (atOnce > mostAtOnce) return void socket.destroy();
  asked.set(socket, atOnce);
  const late = setTimeout(() => response.destroy(), longest).unref();
  response.once('close', () => {
    clearTimeout(late);
    asked.set(socket, (asked.get(socket) ?? 1) - 1);
  });
  await turns.take(networkPeer(socket.remoteAddress));
  if (isGone()) return;
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
  const sendsBody = request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
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
