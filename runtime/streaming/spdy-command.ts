import type { Duplex } from 'node:stream';
import { aborted, finishMs, sizeReader } from './command-streams.ts';
import type { CommandStreams } from './command-streams.ts';
import { formatOutcome } from './outcome.ts';
import type { AskedStreams } from './plan.ts';
import type { CommandProtocol } from './protocols.ts';
import { serveSpdy } from './spdy/connection.ts';
import type { SpdyStream } from './spdy/stream.ts';

/** The maximum time for a client to open its streams (cri-streaming, DefaultStreamCreationTimeout). */
const streamCreationMs = 30_000;

/**
 * Waits until the client has opened every stream that it asked for, in any order. The header `streamType`
 * names each stream.
 * @returns undefined when the client does not open them, or disconnects; the connection is then ended
 */
export async function spdyCommandStreams(input: {
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly protocol: CommandProtocol;
  readonly asked: AskedStreams;
}): Promise<CommandStreams | undefined> {
  const { protocol, asked } = input;
  const expected = ['error', ...(['stdin', 'stdout', 'stderr'] as const).filter((name) => asked[name])];
  if (asked.tty && protocol.resize) expected.push('resize');
  const streams = new Map<string, SpdyStream>();
  const complete = new AbortController();
  const connection = serveSpdy({
    socket: input.socket,
    head: input.head,
    mostStreams: 16,
    onStream: (stream) => {
      const type = stream.headers.get('streamtype') ?? '';
      if (!expected.includes(type) || streams.has(type)) return false;
      streams.set(type, stream);
      if (streams.size === expected.length) complete.abort();
      return true;
    },
  });
  await aborted(AbortSignal.any([complete.signal, connection.closed]), streamCreationMs);
  if (!complete.signal.aborted || connection.closed.aborted) {
    connection.close();
    return undefined;
  }
  const stream = (type: string): Duplex | undefined => streams.get(type)?.duplex;
  return {
    stdin: stream('stdin'),
    stdout: stream('stdout'),
    stderr: stream('stderr'),
    gone: connection.closed,
    onResize: (listener) => {
      const read = sizeReader(listener);
      stream('resize')?.on('data', (chunk: Buffer) => read(chunk.toString('latin1')));
    },
    finish: async (outcome) => {
      // Unlike an end, a reset also drops data that the client still sends.
      for (const type of ['stdin', 'resize']) streams.get(type)?.reset();
      stream('error')?.write(formatOutcome(outcome, protocol.status));
      for (const type of ['stdout', 'stderr', 'error']) stream(type)?.end();
      await aborted(connection.closed, finishMs);
      connection.close();
    },
  };
}
