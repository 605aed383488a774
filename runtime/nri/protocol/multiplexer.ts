import { Duplex } from 'node:stream';
import { failure } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';
import { createFrameCutter, createFrameTimer } from '../../../base/ttrpc/index.ts';

/** The logical connections of NRI (nri, pkg/net/multiplex/ttrpc.go). */
export const pluginConnection = 1;
export const runtimeConnection = 2;

const headerLength = 8;

/** Maximum bytes of one frame: a ttrpc message with its header (nri, pkg/net/multiplex/mux.go). */
const longestFrame = 10 + 4 * 1024 * 1024;

/** bufio's default size in Go. */
const firstPayload = 4096;

/** How much is passed on in one piece, in bytes: as much as a socket reads. */
const mostPassed = 64 * 1024;

const nothing = Buffer.alloc(0);

/** How much of one logical connection may wait until it is read, in bytes. */
const mostWaiting = 2 * longestFrame;

export interface Multiplexer {
  /** The logical connection on which the runtime calls the plugin. */
  readonly plugin: Duplex;
  /** The logical connection on which the plugin calls the runtime. */
  readonly runtime: Duplex;
  /** Resolves when the trunk has ended, with the reason unless this side ended it. Never rejects. */
  readonly closed: Promise<PortcullisError | undefined>;
  /** Ends the trunk and both logical connections. */
  close(): void;
}

/**
 * Carries two logical connections over one stream. A frame is the number of its connection and the length of
 * its payload, both 32 bits in network order, and the payload. A frame for a connection that was not opened
 * is dropped, as in NRI. Each of these ends the trunk and both connections: a frame that is longer than the
 * protocol allows, too many bytes of a connection that nothing reads, and a frame that is not finished in
 * time.
 * Source: containerd/nri, pkg/net/multiplex/mux.go.
 * @param trunk an open connection; it belongs to the multiplexer from now on
 * @param name names the peer in errors
 * @param frameTimeoutMs how long the peer may take to finish a frame that it began
 */
export function multiplex(trunk: Duplex, name: string, frameTimeoutMs = 10_000): Multiplexer {
  const closed = Promise.withResolvers<PortcullisError | undefined>();
  let open = true;
  const end = (why?: string): void => {
    if (!open) return;
    open = false;
    timer.stop();
    trunk.destroy();
    for (const side of sides.values()) side.stream.destroy();
    closed.resolve(why === undefined ? undefined : broken(name, why));
  };
  const sides = new Map(
    [pluginConnection, runtimeConnection].map(
      (id) => [id, logicalConnection(trunk, id, () => open)] as const,
    ),
  );
  for (const { stream } of sides.values()) {
    stream.on('error', () => undefined);
    stream.on('close', () => end());
  }
  const timer = createFrameTimer(frameTimeoutMs, () => end('it did not finish a frame'));
  const cutter = createFrameCutter(headerLength, (header) => {
    const length = header.readUInt32BE(4);
    if (length > longestFrame) throw new Error(`it announced a frame of ${length} bytes`);
    return length;
  });
  trunk.on('data', (chunk: Buffer) => {
    if (!open) return;
    try {
      const frames = cutter.push(chunk);
      for (const frame of frames) sides.get(frame.readUInt32BE(0))?.receive(frame.subarray(headerLength));
      timer.look(cutter.partial(), frames.length > 0);
    } catch (thrown) {
      end((thrown as Error).message);
    }
  });
  trunk.on('error', (error) => end(error.message));
  trunk.on('end', () => end('it closed the connection'));
  trunk.on('close', () => end('the connection was closed'));
  const [plugin, runtime] = [...sides.values()].map(({ stream }) => stream) as [Duplex, Duplex];
  return { plugin, runtime, closed: closed.promise, close: () => end() };
}

interface LogicalConnection {
  readonly stream: Duplex;
  /** @throws Error when too many bytes wait until they are read */
  receive(payload: Buffer): void;
}

function logicalConnection(trunk: Duplex, id: number, isOpen: () => boolean): LogicalConnection {
  // All bytes that wait are in one buffer: a separate buffer for a payload of one byte would cost a hundred
  // bytes.
  let held = nothing;
  let start = 0;
  let end = 0;
  let isWanted = false;
  const pass = (): void => {
    if (!isWanted || start === end) return;
    isWanted = false;
    const piece = held.subarray(start, Math.min(end, start + mostPassed));
    start += piece.length;
    if (start === end) [held, start, end] = [nothing, 0, 0];
    stream.push(piece);
  };
  const stream = new Duplex({
    // The trunk is always read: the other connection must not wait for this connection.
    read: () => {
      isWanted = true;
      pass();
    },
    write: (chunk: Buffer, _encoding, done) => {
      if (!isOpen()) return done();
      for (const payload of cut(chunk)) {
        const header = Buffer.allocUnsafe(headerLength);
        header.writeUInt32BE(id, 0);
        header.writeUInt32BE(payload.length, 4);
        trunk.write(header);
        trunk.write(payload);
      }
      if (trunk.writableNeedDrain) trunk.once('drain', done);
      else done();
    },
  });
  const receive = (payload: Buffer): void => {
    const size = end - start;
    if (stream.readableLength + size + payload.length > mostWaiting)
      throw new Error('it sent data faster than the daemon reads it');
    if (held.length - end < payload.length) {
      // A new buffer is needed: pieces of the old buffer were passed on.
      const larger = Buffer.allocUnsafeSlow(Math.max(2 * size, size + payload.length, firstPayload));
      held.copy(larger, 0, start, end);
      [held, start, end] = [larger, 0, size];
    }
    payload.copy(held, end);
    end += payload.length;
    pass();
  };
  return { stream, receive };
}

/**
 * Cuts a message into payloads as the Go implementation does: its reader has a buffer of 4096 bytes for the
 * beginning of a message, and reads the rest in one piece into the message's own buffer.
 */
function cut(message: Buffer): Buffer[] {
  const payloads = [message.subarray(0, firstPayload)];
  for (let at = firstPayload; at < message.length; at += longestFrame)
    payloads.push(message.subarray(at, at + longestFrame));
  return payloads;
}

function broken(name: string, why: string): PortcullisError {
  return failure(
    'NRI_CONNECTION_LOST',
    'unavailable',
    'exchange messages with NRI plugin',
    name,
    why,
    'restart it',
  );
}
