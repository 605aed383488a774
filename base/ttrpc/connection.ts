import type { Duplex } from 'node:stream';
import { failure, reasonOf } from '../errors/index.ts';
import type { PortcullisError } from '../errors/index.ts';
import { append } from '../lists/index.ts';
import { createFrameTimer } from './frame-cutter.ts';
import { createFrameReader, encodeFrame, longestData } from './frames.ts';
import type { Frame } from './frames.ts';

/** How much a peer may leave unread before nothing more is sent to it. */
const mostUnread = 4 * longestData;

export interface ConnectionOptions {
  /** Names the peer in errors: the path of its socket, or its program. */
  readonly name: string;
  /** How long a peer may take to finish a frame that it began. Default: 10 seconds. */
  readonly frameTimeoutMs?: number;
}

export interface Connection {
  /** Resolves when the connection ended, with the reason unless this side closed it. Never rejects. */
  readonly closed: Promise<PortcullisError | undefined>;
  /** Whether the peer left so much unread that more must wait. */
  congested(): boolean;
  /** Sends one frame. Does nothing once the connection ended. */
  send(stream: number, type: number, data: Uint8Array): void;
  /** Calls back once the peer read what was sent, unless the connection ends before. */
  drained(then: () => void): void;
  /** Stops reading until {@link Connection.resume} is called. */
  pause(): void;
  resume(): void;
  /** Ends the connection. With a reason: because the peer broke the protocol. */
  close(why?: string): void;
}

/**
 * Reads and writes frames on one duplex stream. Bytes that are not frames, and a frame that is begun and not
 * finished in time, end the connection; a peer may be silent between two frames.
 * @param receive is called for each frame, in order; an error that it throws ends the connection
 * @param ended is called once, when the connection ended
 */
export function openConnection(
  stream: Duplex,
  { name, frameTimeoutMs = 10_000 }: ConnectionOptions,
  receive: (frame: Frame) => void,
  ended: (reason: PortcullisError) => void,
): Connection {
  const reader = createFrameReader();
  const closed = Promise.withResolvers<PortcullisError | undefined>();
  let open = true;
  let paused = false;
  /** Frames that were received while the connection was paused. Never more than one chunk's. */
  const waiting: Frame[] = [];

  const end = (reason: PortcullisError | undefined): void => {
    if (!open) return;
    open = false;
    timer.stop();
    waiting.length = 0;
    stream.destroy();
    ended(reason ?? connectionClosed(name, 'this side closed the connection'));
    closed.resolve(reason);
  };
  const broken = (why: string): void => {
    end(
      failure('TTRPC_PROTOCOL', 'unavailable', 'exchange ttrpc messages with', name, why, 'restart the peer'),
    );
  };
  const timer = createFrameTimer(frameTimeoutMs, () => broken('the peer did not finish a message'));
  const watch = (completed: boolean): void => {
    if (open && !paused) timer.look(reader.partial(), completed);
  };
  const deliver = (): void => {
    while (open && !paused) {
      const frame = waiting.shift();
      if (frame === undefined) break;
      try {
        receive(frame);
      } catch (thrown) {
        broken(reasonOf(thrown));
      }
    }
    if (open && !paused) stream.resume();
  };
  stream.on('data', (chunk: Buffer) => {
    if (!open) return;
    let frames: readonly Frame[];
    try {
      frames = reader.push(chunk);
    } catch (thrown) {
      broken(reasonOf(thrown));
      return;
    }
    append(waiting, frames);
    deliver();
    watch(frames.length > 0);
  });
  stream.on('error', (error) => end(connectionClosed(name, error.message)));
  stream.on('end', () => end(connectionClosed(name, 'the peer closed the connection')));
  stream.on('close', () => end(connectionClosed(name, 'the connection was closed')));

  return {
    closed: closed.promise,
    congested: () => stream.writableLength > mostUnread,
    send: (id, type, data) => {
      if (open) stream.write(encodeFrame(id, type, data));
    },
    drained: (then) => {
      if (stream.writableLength === 0) then();
      else stream.once('drain', then);
    },
    pause: () => {
      paused = true;
      stream.pause();
      // This side stopped reading, so the peer is not to blame for an incomplete frame.
      timer.stop();
    },
    resume: () => {
      if (!paused || !open) return;
      paused = false;
      deliver();
      watch(false);
    },
    close: (why) => (why === undefined ? end(undefined) : broken(why)),
  };
}

function connectionClosed(name: string, why: string): PortcullisError {
  return failure('TTRPC_CLOSED', 'unavailable', 'exchange ttrpc messages with', name, why, 'connect again');
}
