import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ConnectionPlace } from '../../base/connections/index.ts';
import { answerRequest } from './answer.ts';
import type { AnswerContext } from './answer.ts';

/** In ms: for a request with its upload, for judging it, and for the client to read the answer. */
const longest = 600_000;

/** How many requests of a connection are worked on: a client may send several before it reads. */
const underWay = new WeakMap<ConnectionPlace, number>();

/**
 * Answers one request, and holds its connection's place meanwhile. What the client takes its time for is not held: an upload that still comes, or an answer
 * that is not read, gives way to another address where places are short, and ends after ten minutes anyway.
 */
export async function answerInTime(
  context: AnswerContext,
  place: ConnectionPlace | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
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
