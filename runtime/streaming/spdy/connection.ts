import type { Duplex } from 'node:stream';
import { unshared } from './unshared.ts';
import { controlFrame, createFrameParser, flagFin, frameTypes, resetCodes } from './frames.ts';
import type { ControlFrame, DataPart } from './frames.ts';
import { createHeaderReader, createHeaderWriter } from './header-block.ts';
import { openStream } from './stream.ts';
import type { OpenStream, SpdyStream } from './stream.ts';

export interface SpdyConnection {
  /** Aborted when the connection has ended, whichever side ended it. */
  readonly closed: AbortSignal;
  /** Sends GOAWAY and ends the connection at once. */
  close(): void;
}

/**
 * How many bytes of replies and pings the client may leave unread before its own frames are no longer read.
 */
const unsentLimit = 1024 * 1024;

/**
 * Serves SPDY/3.1 over `socket`, for clients that use moby/spdystream (client-go, kubelet, crictl) or behave
 * like it. These clients have no flow control: no window is counted or updated, and back-pressure is that of
 * the connection. Therefore a stream that is not read eventually blocks the other streams of its connection,
 * as in every other implementation.
 * @param input.head the bytes that were read beyond the upgrade
 * @param input.onStream accepts a new stream, or refuses it by returning false
 */
export function serveSpdy(input: {
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly mostStreams: number;
  readonly onStream: (stream: SpdyStream) => boolean;
}): SpdyConnection {
  const { socket } = input;
  const streams = new Map<number, OpenStream>();
  const [readHeaders, writeHeaders] = [createHeaderReader(), createHeaderWriter()];
  const closed = new AbortController();
  let lastId = 0;
  let leaving = false;

  const end = (): void => {
    if (closed.signal.aborted) return;
    closed.abort();
    readHeaders.close();
    socket.destroy();
    for (const { stream } of [...streams.values()]) stream.duplex.destroy();
  };
  socket.on('error', end);
  socket.on('close', end);

  const send = (frame: Buffer): void => {
    if (!closed.signal.aborted && socket.writable) socket.write(frame);
  };
  const forget = (id: number): void => {
    if (streams.delete(id) && leaving && streams.size === 0) end();
  };

  const onSynStream = async ({ flags, payload }: ControlFrame): Promise<void> => {
    if (payload.length < 10) throw new Error('a SYN_STREAM that is too short');
    const id = payload.readUInt32BE(0) & 0x7fffffff;
    const headers = await readHeaders.read(payload.subarray(10));
    if (closed.signal.aborted) return;
    if (id % 2 === 0 || id <= lastId)
      return send(controlFrame(frameTypes.rstStream, 0, id, resetCodes.protocolError));
    lastId = id;
    if (leaving || streams.size >= input.mostStreams)
      return send(controlFrame(frameTypes.rstStream, 0, id, resetCodes.refusedStream));
    const opened = openStream(id, headers, { socket, isClosed: () => closed.signal.aborted, send, forget });
    const { stream } = opened;
    streams.set(id, opened);
    if ((flags & flagFin) !== 0) stream.duplex.push(null);
    send(controlFrame(frameTypes.synReply, 0, id, writeHeaders(new Map())));
    if (!input.onStream(stream)) stream.reset();
  };
  const onControl = async (frame: ControlFrame): Promise<void> => {
    const { type, payload } = frame;
    switch (type) {
      case frameTypes.synStream:
        return onSynStream(frame);
      case frameTypes.headers:
        // Its contents are not used, but it is part of the compression state.
        await readHeaders.read(payload.subarray(4));
        return;
      case frameTypes.rstStream: {
        const known = streams.get(payload.length < 4 ? 0 : payload.readUInt32BE(0) & 0x7fffffff);
        known?.resetByPeer();
        return;
      }
      case frameTypes.ping:
        // Odd ids belong to the client and are echoed (section 2.6.5).
        if (payload.length >= 4 && payload.readUInt32BE(0) % 2 === 1)
          send(controlFrame(frameTypes.ping, 0, payload.readUInt32BE(0)));
        return;
      case frameTypes.goAway:
        leaving = true;
        if (streams.size === 0) end();
        return;
      default:
      // SETTINGS, WINDOW_UPDATE and unknown frames change nothing.
    }
  };
  const onData = ({ stream: id, bytes, fin }: DataPart): Promise<void> | undefined => {
    const known = streams.get(id);
    // The frame belongs to a stream that this side has ended, which the client does not know yet.
    if (known === undefined || known.stream.duplex.readableEnded || known.stream.duplex.destroyed)
      return undefined;
    if (bytes.length > 0) known.stream.duplex.push(unshared(bytes));
    if (fin) known.stream.duplex.push(null);
    return known.left();
  };

  const onFrame = (frame: ControlFrame | DataPart): Promise<void> | undefined =>
    frame.kind === 'data' ? onData(frame) : onControl(frame);
  void readFrames(input, onFrame, closed.signal).then(end, end);

  return {
    closed: closed.signal,
    close: () => {
      send(controlFrame(frameTypes.goAway, 0, lastId, 0));
      end();
    },
  };
}

/**
 * Reads frames until the client has ended the connection. A frame waits until the frame before is handled.
 */
async function readFrames(
  { socket, head }: { readonly socket: Duplex; readonly head: Buffer },
  onFrame: (frame: ControlFrame | DataPart) => Promise<void> | undefined,
  over: AbortSignal,
): Promise<void> {
  const parse = createFrameParser();
  const take = async (chunk: Buffer): Promise<void> => {
    for (const frame of parse(chunk)) {
      const pending = onFrame(frame);
      if (pending !== undefined) await pending;
    }
    if (socket.writableLength > unsentLimit) await drained(socket, over);
  };
  if (head.length > 0) await take(head);
  for await (const chunk of socket) await take(chunk as Buffer);
}

async function drained(socket: Duplex, over: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      socket.off('drain', done);
      over.removeEventListener('abort', done);
      resolve();
    };
    socket.once('drain', done);
    over.addEventListener('abort', done);
  });
}
