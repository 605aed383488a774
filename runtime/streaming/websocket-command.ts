import { Readable, Writable } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { aborted, finishMs, parseSize } from './command-streams.ts';
import type { CommandStreams, WindowSize } from './command-streams.ts';
import { pushMessage } from './message-room.ts';
import { formatOutcome } from './outcome.ts';
import type { AskedStreams } from './plan.ts';
import type { CommandProtocol } from './protocols.ts';

/** Channels of a remote command (k8s.io/streaming, wsstream): the first byte of each message. */
export const channels = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;
/** v5: the message names the channel that the client closes. */
export const closeSignal = 255;

/** Returns the streams of a WebSocket client, `[v4.|v5.][base64.]channel.k8s.io`. */
export function webSocketCommandStreams(
  socket: WebSocket,
  protocol: CommandProtocol,
  asked: AskedStreams,
): CommandStreams {
  const gone = new AbortController();
  let resized: (size: WindowSize) => void = (size) => (lastSize = size);
  let lastSize: WindowSize | undefined;
  socket.on('close', () => gone.abort());
  socket.on('error', () => socket.terminate());

  const stdin = asked.stdin
    ? new Readable({ read: () => socket.resume(), highWaterMark: 64 * 1024 })
    : undefined;
  // A stream that is destroyed before its end emits an error.
  stdin?.on('error', () => undefined);
  gone.signal.addEventListener('abort', () => stdin?.destroy());
  const sender = (channel: number): Writable => {
    const stream = new Writable({
      write: (chunk: Buffer, _encoding, done) => sendOn(socket, protocol, channel, chunk, done),
    });
    stream.on('error', () => undefined);
    gone.signal.addEventListener('abort', () => stream.destroy());
    return stream;
  };
  const [stdout, stderr, error] = [
    asked.stdout ? sender(channels.stdout) : undefined,
    asked.stderr ? sender(channels.stderr) : undefined,
    sender(channels.error),
  ];

  socket.on('message', (data: RawData, isBinary: boolean) => {
    const message = decode(data as Buffer, isBinary, protocol);
    if (message === undefined) return socket.terminate();
    const { channel, bytes } = message;
    if (channel === channels.stdin && stdin !== undefined && !stdin.destroyed && !stdin.readableEnded) {
      if (bytes.length > 0 && !ended && !pushMessage(stdin, bytes)) socket.pause();
    } else if (channel === channels.resize) {
      const size = parseSize(bytes.toString('latin1'));
      if (size !== undefined) resized(size);
    } else if (channel === closeSignal && protocol.close && bytes[0] === channels.stdin) {
      if (!ended) stdin?.push(null);
      ended = true;
    }
  });
  let ended = false;

  // An empty message to the lowest channel that the client reads confirms that the connection is established.
  (stdout ?? stderr ?? error).write(Buffer.alloc(0));
  return {
    stdin,
    stdout,
    stderr,
    gone: gone.signal,
    onResize: (listener) => {
      resized = listener;
      if (lastSize !== undefined) listener(lastSize);
    },
    finish: async (outcome) => {
      ended = true;
      const text = formatOutcome(outcome, protocol.status);
      const written = [stdout, stderr].map(
        (stream) =>
          new Promise<void>((resolve) =>
            stream === undefined || stream.destroyed ? resolve() : stream.end(resolve),
          ),
      );
      await Promise.race([Promise.all(written), aborted(gone.signal, finishMs)]);
      if (text !== '' && !error.destroyed) error.write(Buffer.from(text));
      error.end(() => socket.close(1000));
      // Input that no process reads any more must not block the close.
      socket.resume();
      await aborted(gone.signal, finishMs);
      socket.terminate();
    },
  };
}

/** Sends one message, even an empty one. */
export function sendOn(
  socket: WebSocket,
  protocol: Pick<CommandProtocol, 'base64'>,
  channel: number,
  chunk: Buffer,
  done: (reason?: Error | null) => void,
): void {
  const message = protocol.base64
    ? `${channel}${chunk.toString('base64')}`
    : Buffer.concat([Buffer.from([channel]), chunk]);
  socket.send(message, { binary: !protocol.base64 }, (reason) => done(reason ?? null));
}

/** Returns undefined if it is not a message of this protocol. */
export function decode(
  data: Buffer,
  isBinary: boolean,
  protocol: Pick<CommandProtocol, 'base64'>,
): { readonly channel: number; readonly bytes: Buffer } | undefined {
  if (data.length === 0) return { channel: -1, bytes: data };
  if (!protocol.base64) return { channel: data.readUInt8(0), bytes: data.subarray(1) };
  if (isBinary) return undefined;
  return { channel: data.readUInt8(0) - 0x30, bytes: Buffer.from(data.toString('latin1', 1), 'base64') };
}
