import { Duplex } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { aborted, finishMs } from './command-streams.ts';
import { forward } from './forward.ts';
import { pushMessage } from './message-room.ts';
import type { ForwardPlan } from './plan.ts';
import { decode, sendOn } from './websocket-command.ts';

/**
 * Serves `v4.channel.k8s.io` and its base64 form. For the n-th port that the request names, channel 2n
 * carries the data and channel 2n + 1 the error. Each begins with the port (16 bits, little-endian). Ends
 * when every connection has ended.
 */
export async function serveWebSocketForward(
  socket: WebSocket,
  protocol: { readonly base64: boolean },
  plan: ForwardPlan,
): Promise<void> {
  const gone = new AbortController();
  socket.on('close', () => gone.abort());
  socket.on('error', () => socket.terminate());
  const send = (channel: number, chunk: Buffer): Promise<void> =>
    new Promise((resolve) => sendOn(socket, protocol, channel, chunk, () => resolve()));
  // A port that is read must not let in more data for another one that nobody reads.
  const resumeFor = (data: Duplex): void => {
    const isFull = (other: Duplex): boolean =>
      other !== data && !other.destroyed && other.readableLength >= other.readableHighWaterMark;
    if (!ends.some(isFull)) socket.resume();
  };
  const ends = plan.ports.map((_, index): Duplex => {
    const data = new Duplex({
      allowHalfOpen: true,
      read: () => resumeFor(data),
      write: (chunk: Buffer, _encoding, done) => sendOn(socket, protocol, 2 * index, chunk, done),
      destroy: (error, done) => {
        // Nothing is read from this one any more, for which the other ports may have to wait.
        resumeFor(data);
        done(error);
      },
    });
    data.on('error', () => undefined);
    gone.signal.addEventListener('abort', () => data.destroy());
    return data;
  });
  socket.on('message', (message: RawData, isBinary: boolean) => {
    const decoded = decode(message as Buffer, isBinary, protocol);
    if (decoded === undefined) return socket.terminate();
    const data = decoded.channel % 2 === 0 ? ends[decoded.channel / 2] : undefined;
    if (
      data !== undefined &&
      !data.destroyed &&
      decoded.bytes.length > 0 &&
      !pushMessage(data, decoded.bytes)
    )
      socket.pause();
  });
  await Promise.all(
    plan.ports.map(async (port, index) => {
      const name = Buffer.alloc(2);
      name.writeUInt16LE(port);
      await send(2 * index, name);
      await send(2 * index + 1, name);
      const data = ends[index];
      if (data === undefined) return;
      try {
        await forward(plan, port, data);
      } catch (cause) {
        await send(2 * index + 1, Buffer.from((cause as Error).message));
      }
      data.destroy();
    }),
  );
  socket.close(1000);
  socket.resume();
  await aborted(gone.signal, finishMs);
  socket.terminate();
}
