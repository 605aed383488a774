import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

/**
 * A pod: echoes by TCP and UDP on port 7000, by TCP after its name; opens streams on request and measures
 * their longest silence.
 */

const name = process.argv[2] ?? '';
const port = 7000;
const everyMs = 20;

export interface StreamReport {
  readonly echoed: number;
  readonly longestSilenceMs: number;
  readonly ended?: string;
}
export type PodQuestion =
  | {
      readonly do: 'open';
      readonly stream: string;
      readonly protocol: 'tcp' | 'udp';
      readonly address: string;
      readonly port: number;
    }
  | { readonly do: 'report' }
  /** Asks whether a datagram with that text was received. */
  | { readonly do: 'heard'; readonly text: string }
  /** Sends a datagram with these bytes, in base64. */
  | { readonly do: 'send'; readonly bytes: string; readonly address: string; readonly port: number }
  /** Asks which pods answer there, with this number of connections. */
  | { readonly do: 'who'; readonly address: string; readonly port: number; readonly times: number };

interface Stream {
  echoed: number;
  heardAt: number;
  longest: number;
  ended?: string;
}
const streams = new Map<string, Stream>();

createServer((socket) => {
  socket.on('error', () => undefined);
  socket.write(`${name}\n`);
  socket.pipe(socket);
}).listen(port, '::');
const echo = createSocket({ type: 'udp6' });
const datagrams = new Set<string>();
echo.on('message', (bytes, from) => {
  if (bytes.length > 1) datagrams.add(bytes.toString());
  echo.send(bytes, from.port, from.address);
});
echo.bind(port, '::');

function open({ stream: id, protocol, address, port: to }: PodQuestion & { readonly do: 'open' }): void {
  const stream: Stream = { echoed: 0, heardAt: performance.now(), longest: 0 };
  streams.set(id, stream);
  const heard = (): void => {
    const now = performance.now();
    stream.longest = Math.max(stream.longest, now - stream.heardAt);
    stream.heardAt = now;
    stream.echoed += 1;
  };
  if (protocol === 'tcp') {
    const socket = connect({ host: address, port: to });
    socket.on('data', heard);
    socket.on('error', (error) => (stream.ended = error.message));
    socket.on('close', () => (stream.ended ??= 'closed'));
    setInterval(() => void (stream.ended === undefined && socket.write('.')), everyMs);
  } else {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.on('message', heard);
    socket.on('error', () => undefined);
    setInterval(() => socket.send('.', to, address, () => undefined), everyMs);
  }
}

const who = (address: string, to: number): Promise<string> =>
  new Promise((resolve) => {
    const socket = connect({ host: address, port: to });
    socket.setTimeout(5000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (bytes) => {
      resolve(bytes.toString().trim());
      socket.destroy();
    });
    socket.on('error', (error) => resolve(`error: ${error.message}`));
  });

function send({ bytes, address, port: to }: PodQuestion & { readonly do: 'send' }): Promise<null> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  return new Promise((resolve) =>
    socket.send(Buffer.from(bytes, 'base64'), to, address, () => {
      socket.close();
      resolve(null);
    }),
  );
}

async function answer(question: PodQuestion): Promise<unknown> {
  if (question.do === 'open') return open(question);
  if (question.do === 'who') {
    const found: string[] = [];
    for (let time = 0; time < question.times; time += 1)
      found.push(await who(question.address, question.port));
    return found;
  }
  if (question.do === 'send') return send(question);
  if (question.do === 'heard') return datagrams.has(question.text);
  const now = performance.now();
  const report: [string, StreamReport][] = [...streams].map(([id, stream]) => {
    const longestSilenceMs = Math.max(stream.longest, now - stream.heardAt);
    stream.longest = 0;
    return [
      id,
      {
        echoed: stream.echoed,
        longestSilenceMs,
        ...(stream.ended === undefined ? {} : { ended: stream.ended }),
      },
    ];
  });
  return Object.fromEntries(report);
}

process.on('message', ({ id, question }: { readonly id: number; readonly question: PodQuestion }) => {
  void answer(question).then((answered) => process.send?.({ id, answer: answered ?? null }));
});
process.on('disconnect', () => process.exit(0));
