import { Duplex } from 'node:stream';
import { failure } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';

/** The logical connections of NRI (nri, pkg/net/multiplex/ttrpc.go). */
export const pluginConnection = 1;
export const runtimeConnection = 2;

const headerLength = 8;

/** Maximum bytes of one frame: a ttrpc message with its header (nri, pkg/net/multiplex/mux.go). */
const longestFrame = 10 + 4 * 1024 * 1024;

/** bufio's default size in Go. */
const firstPayload = 4096;

/** How much of one logical connection may wait until it is read, in bytes. */
const mostWaiting = 2 * longestFrame;

export interface Multiplexer {
  /** The logical connection on which this side calls the plugin. */
  readonly plugin: Duplex;
  /** The logical connection on which the plugin calls this side. */
  readonly runtime: Duplex;
  /** Resolves when the trunk has ended, with the reason unless this side ended it. Never rejects. */
  readonly closed: Promise<PortcullisError | undefined>;
  /** Ends the trunk and both logical connections. */
  close(): void;
}

/**
 * Carries two logical connections over one stream. A frame is the number of its connection and the length of
 * its payload, both 32 bits in network order, and the payload. A frame for a connection that nobody opened is
 * dropped, as in NRI. A frame that is longer than the protocol allows, and a connection whose bytes pile up
 * because this side waits for something else, end everything.
 * Source: containerd/nri, pkg/net/multiplex/mux.go.
 * @param trunk an open connection; it belongs to the multiplexer from now on
 * @param name names the peer in errors
 */
export function multiplex(trunk: Duplex, name: string): Multiplexer {
  const closed = Promise.withResolvers<PortcullisError | undefined>();
  let open = true;
  const end = (why?: string): void => {
    if (!open) return;
    open = false;
    trunk.destroy();
    for (const side of sides.values()) side.destroy();
    closed.resolve(why === undefined ? undefined : broken(name, why));
  };
  const sides = new Map(
    [pluginConnection, runtimeConnection].map(
      (id) => [id, logicalConnection(trunk, id, () => open)] as const,
    ),
  );
  for (const side of sides.values()) {
    side.on('error', () => undefined);
    side.on('close', () => end());
  }
  const read = createFrameReader((id, payload) => {
    const side = sides.get(id);
    if (side === undefined) return;
    if (side.readableLength + payload.length > mostWaiting) throw new Error('it sends more than is read');
    side.push(payload);
  });
  trunk.on('data', (chunk: Buffer) => {
    try {
      if (open) read(chunk);
    } catch (thrown) {
      end((thrown as Error).message);
    }
  });
  trunk.on('error', (error) => end(error.message));
  trunk.on('end', () => end('it closed the connection'));
  trunk.on('close', () => end('the connection was closed'));
  const [plugin, runtime] = [...sides.values()] as [Duplex, Duplex];
  return { plugin, runtime, closed: closed.promise, close: () => end() };
}

function logicalConnection(trunk: Duplex, id: number, isOpen: () => boolean): Duplex {
  return new Duplex({
    // The trunk is always read: the other connection must not wait for this one.
    read: () => undefined,
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

/**
 * Returns a function that takes received bytes and reports the complete frames. The cost is linear in the
 * bytes, however they are cut; at most one incomplete frame is kept.
 */
function createFrameReader(report: (id: number, payload: Buffer) => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = [];
  let size = 0;
  let wanted = headerLength;
  return (chunk) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size < wanted) return;
    const bytes = chunks.length === 1 ? chunk : Buffer.concat(chunks, size);
    let at = 0;
    for (;;) {
      wanted = headerLength;
      if (size - at < wanted) break;
      const length = bytes.readUInt32BE(at + 4);
      if (length > longestFrame) throw new Error(`it announced a frame of ${length} bytes`);
      wanted = headerLength + length;
      if (size - at < wanted) break;
      report(bytes.readUInt32BE(at), bytes.subarray(at + headerLength, at + wanted));
      at += wanted;
    }
    size -= at;
    // A copy, because a slice would keep all received bytes alive.
    chunks = size === 0 ? [] : [Buffer.from(bytes.subarray(at))];
  };
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
