import { Duplex } from 'node:stream';
import { controlFrame, dataHeader, frameTypes, resetCodes } from './frames.ts';

/** One stream that the client has opened. */
export interface SpdyStream {
  readonly id: number;
  readonly headers: ReadonlyMap<string, string>;
  /**
   * Its end closes only one direction; the other direction stays open. Destroyed when the client resets it or
   * the connection is lost.
   */
  readonly duplex: Duplex;
  /** Ends both directions at once and drops data that still arrives. */
  reset(): void;
}

/** How much data a stream may have received ahead of its reader before the connection is no longer read. */
const readAhead = 256 * 1024;

/** The connection's side of a stream. */
export interface OpenStream {
  readonly stream: SpdyStream;
  /** Ends the stream without a reset, because the client has sent one. */
  resetByPeer(): void;
  /** Resolves when the reader has caught up; undefined when the connection can be read on. */
  left(): Promise<void> | undefined;
}

/**
 * Opens the local end of a stream. Its data goes to the socket, and its end is sent to the client.
 * @param connection.send sends a frame, unless the connection is over
 * @param connection.forget called when the stream is over
 */
export function openStream(
  id: number,
  headers: ReadonlyMap<string, string>,
  connection: {
    readonly socket: Duplex;
    readonly isClosed: () => boolean;
    readonly send: (frame: Buffer) => void;
    readonly forget: (id: number) => void;
  },
): OpenStream {
  const { socket, send } = connection;
  let resume: (() => void) | undefined;
  let quiet = false;
  const wake = (): void => {
    resume?.();
    resume = undefined;
  };
  const duplex = new Duplex({
    allowHalfOpen: true,
    readableHighWaterMark: readAhead,
    read: wake,
    write: (chunk: Buffer, _encoding, done) => {
      if (connection.isClosed() || !socket.writable) return done(new Error('the connection has ended'));
      socket.cork();
      socket.write(dataHeader(id, chunk.length, false));
      socket.write(chunk, (reason) => done(reason ?? null));
      socket.uncork();
    },
    final: (done) => {
      send(dataHeader(id, 0, true));
      done();
    },
    destroy: (reason, done) => {
      // If both sides have ended the stream, it has ended for the client too. Otherwise a reset informs the
      // client.
      if (!quiet && !(duplex.readableEnded && duplex.writableFinished))
        send(controlFrame(frameTypes.rstStream, 0, id, resetCodes.cancel));
      connection.forget(id);
      wake();
      done(reason);
    },
  });
  // The user of the stream learns of its end by `close`.
  duplex.on('error', () => undefined);
  return {
    stream: { id, headers, duplex, reset: () => duplex.destroy() },
    resetByPeer: () => {
      quiet = true;
      duplex.destroy();
    },
    left: () =>
      duplex.destroyed || duplex.readableLength < readAhead
        ? undefined
        : new Promise<void>((resolve) => (resume = resolve)),
  };
}
