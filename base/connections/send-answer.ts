import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { Readable, pipeline } from 'node:stream';

/** A whole answer to an HTTP request. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body: string | Uint8Array;
}

/**
 * Sends an answer that no cache may keep. An answer to HEAD has no body.
 * @throws Error if a header is not valid, or was sent before
 */
export function sendAnswer(
  request: IncomingMessage,
  response: ServerResponse,
  { status, headers, body }: HttpAnswer,
): void {
  response.writeHead(status, {
    ...headers,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    // The rest of a refused body is not read.
    ...(!request.complete && request.method === 'POST' && { Connection: 'close' }),
  });
  if (request.method === 'HEAD') response.end();
  else endWith(response, body);
}

/** In bytes. */
const pieceBytes = 256 * 1024;

/**
 * Ends a response with a body, of which a part is written only after the client has read most of the part
 * before it. TLS encrypts at once what is written: a large body that is written whole would be held a second
 * time for each client that reads slowly.
 */
export function endWith(response: ServerResponse, body: string | Uint8Array): void {
  // A stream that is connected to a response whose client has left throws an error.
  if (body.length <= pieceBytes || response.destroyed) return void response.end(body);
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  // It is not a failure when a client disconnects while it is being answered.
  pipeline(Readable.from(piecesOf(bytes)), response, () => undefined);
}

function* piecesOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += pieceBytes) yield bytes.subarray(from, from + pieceBytes);
}

/**
 * Answers one request. Never rejects: a request that cannot be answered ends.
 * @param answerOf never rejects
 * @param sent called with the status of an answer that was sent
 */
export async function answerOrEnd(
  request: IncomingMessage,
  response: ServerResponse,
  answerOf: () => Promise<HttpAnswer>,
  sent: (status: number) => void = () => undefined,
): Promise<void> {
  // It is not a failure when a client disconnects while it is being answered.
  response.on('error', () => undefined);
  try {
    const answer = await answerOf();
    const status = countedStatus(response, answer.status);
    sendAnswer(request, response, answer);
    sent(status);
  } catch {
    response.destroy();
  }
}

/**
 * Returns the status by which an answer is counted: 499, as by nginx, if the client has left before it. The
 * service has not failed then. Call it before the answer is sent.
 */
export function countedStatus(response: ServerResponse, status: number): number {
  return response.closed ? 499 : status;
}
