import type { Socket } from 'node:net';
import type { SessionResult } from './plan.ts';

/** The answer to a request for which no session starts. */
export interface Refusal {
  readonly status: 400 | 403 | 404 | 429;
  readonly why: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** In ms: how long a refused client may take to read the reason and to close. */
const refusedMs = 2_000;
const statusTexts = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  429: 'Too Many Requests',
} as const;

/** Answers the request and ends the connection. Returns what the log says about it. */
export function refuse(socket: Socket, { status, why, headers = {} }: Refusal): SessionResult {
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
