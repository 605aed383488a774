import type { Duplex } from 'node:stream';
import { forward } from './forward.ts';
import type { ForwardPlan } from './plan.ts';
import { serveSpdy } from './spdy/connection.ts';
import type { SpdyStream } from './spdy/stream.ts';

/** The maximum time for the second stream of a pair to arrive. */
const pairMs = 30_000;
/** Two for each forwarded connection. */
const mostStreams = 1_024;

interface Pair {
  error?: SpdyStream;
  data?: SpdyStream;
  timer?: NodeJS.Timeout;
}

/**
 * Serves `portforward.k8s.io`: a client opens a pair of streams for each connection, named by `requestID` and
 * `port`: first `error`, then `data`. Resolves when the client has disconnected.
 */
export async function serveSpdyForward(input: {
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly plan: ForwardPlan;
}): Promise<void> {
  const pairs = new Map<string, Pair>();
  const connection = serveSpdy({
    socket: input.socket,
    head: input.head,
    mostStreams,
    onStream: (stream) => {
      const type = stream.headers.get('streamtype');
      const port = portOf(stream);
      if ((type !== 'error' && type !== 'data') || port === undefined) return false;
      const id = requestOf(stream, type);
      const pair = pairs.get(id) ?? open(id);
      if (pair[type] !== undefined) {
        pair.error?.duplex.write(
          `error processing stream for request ${id}: ${type} stream already assigned`,
        );
        return false;
      }
      pair[type] = stream;
      if (pair.error !== undefined && pair.data !== undefined) {
        clearTimeout(pair.timer);
        pairs.delete(id);
        void run(input.plan, portOf(pair.data) ?? port, pair.data, pair.error);
      } else stream.duplex.once('close', () => forget(id, pair));
      return true;
    },
  });
  /** The limit of streams does not count a pair whose only stream the client has reset. */
  const forget = (id: string, pair: Pair): void => {
    if (pairs.get(id) !== pair) return;
    clearTimeout(pair.timer);
    pairs.delete(id);
  };
  const open = (id: string): Pair => {
    const pair: Pair = {};
    pair.timer = setTimeout(() => {
      pairs.delete(id);
      pair.error?.duplex.end('timed out waiting for streams');
      pair.data?.reset();
    }, pairMs);
    pairs.set(id, pair);
    return pair;
  };
  await new Promise<void>((resolve) => connection.closed.addEventListener('abort', () => resolve()));
  for (const { timer } of pairs.values()) clearTimeout(timer);
}

async function run(plan: ForwardPlan, port: number, data: SpdyStream, error: SpdyStream): Promise<void> {
  // Only its end is ever read from it.
  error.duplex.resume();
  try {
    await forward(plan, port, data.duplex);
  } catch (cause) {
    error.duplex.write((cause as Error).message);
    data.reset();
  }
  // The client always waits for this end before it ends its own side.
  error.duplex.end();
}

function portOf(stream: SpdyStream): number | undefined {
  const text = stream.headers.get('port') ?? '';
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

/** Old clients send no `requestID`: their pairs are consecutive streams, the error stream first. */
function requestOf(stream: SpdyStream, type: 'error' | 'data'): string {
  const given = stream.headers.get('requestid') ?? '';
  return given === '' ? String(type === 'error' ? stream.id : stream.id - 2) : given;
}
