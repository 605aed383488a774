import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';

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
  response.end(request.method === 'HEAD' ? undefined : body);
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
    sendAnswer(request, response, answer);
    sent(answer.status);
  } catch {
    response.destroy();
  }
}
