import type { Socket } from 'node:net';

/** Reads a stream in pieces whose lengths the caller knows. */
export interface ByteReader {
  /** Returns the next `count` bytes, or undefined if the other side ends first. One call at a time. */
  take(count: number): Promise<Buffer | undefined>;
  /** Returns the bytes that arrived and were not taken. */
  rest(): Buffer;
  /** Returns whether the other side has ended or is gone. */
  ended(): boolean;
  /** Drops everything that arrives from now on. */
  stop(): void;
}

/** A byte budget that several readers share. */
export interface SharedBytes {
  free: number;
}

/**
 * Creates a reader.
 * @param first bytes that were already read from the stream
 * @param most bytes that are held at once; a client that sends more without being asked is disconnected
 * @param shared budget that is returned when the reader stops; a client that sends while nothing is left is
 * disconnected
 */
export function createByteReader(
  socket: Socket,
  first: Buffer,
  most: number,
  shared: SharedBytes,
): ByteReader {
  let chunks: Buffer[] = [first];
  let length = first.length;
  let ended = false;
  let stopped = false;
  let counted = 0;
  let waiting: { readonly count: number; readonly resolve: (bytes: Buffer | undefined) => void } | undefined;

  const serve = (): void => {
    if (waiting === undefined) return;
    const { count, resolve } = waiting;
    if (length < count && !ended) return;
    waiting = undefined;
    if (length < count) return resolve(undefined);
    const all = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
    chunks = length === count ? [] : [all.subarray(count)];
    length -= count;
    resolve(all.subarray(0, count));
  };
  const end = (): void => {
    ended = true;
    serve();
  };
  socket.on('data', (chunk: Buffer) => {
    if (stopped) return;
    chunks.push(chunk);
    length += chunk.length;
    counted += chunk.length;
    shared.free -= chunk.length;
    if (length > most || shared.free < 0) socket.destroy();
    serve();
  });
  for (const event of ['end', 'close', 'error']) socket.on(event, end);
  return {
    take: (count) =>
      new Promise((resolve) => {
        waiting = { count, resolve };
        serve();
      }),
    rest: () => Buffer.concat(chunks),
    ended: () => ended,
    stop() {
      stopped = true;
      chunks = [];
      shared.free += counted;
      counted = 0;
    },
  };
}
