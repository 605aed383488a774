import { createCriClient } from '../../runtime/client.ts';
import type { CriClient } from '../../runtime/client.ts';
import { removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { openCommand } from '../fixtures/stream-client.ts';
import type { CommandClient } from '../fixtures/stream-client.ts';
import type { Attack, Outcome, Scale } from './attack.ts';
import { flood } from './floods.ts';
import type { Scene } from './scene.ts';

/** Clients that send requests and do not read the answers. */
export const readerAttacks = ({ slowReaders, connections }: Scale): readonly Attack[] => [
  { name: 'clients that do not read events and lists', start: (scene) => criReaders(scene, slowReaders) },
  { name: 'exec clients that do not read', start: (scene) => execReaders(scene, slowReaders) },
  {
    name: 'trust clients that do not read',
    start: async ({ trust, timestampPath }) => {
      const requests = `GET ${timestampPath} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(30);
      const running = await flood({
        to: { host: '127.0.0.1', port: trust.port, localAddress: '127.0.0.2' },
        connections: Math.min(connections, 500),
        sends: requests,
        reads: false,
      });
      return {
        end: () =>
          running.end().then(() => ({ lines: ['each asks 30 times and reads nothing'], failures: [] })),
      };
    },
  },
];

async function criReaders({ stage }: Scene, count: number) {
  const clients: CriClient[] = [];
  const abort = new AbortController();
  const ends: Promise<unknown>[] = [];
  for (let index = 0; index < count; index += 1) {
    const client = createCriClient(stage.folders.socket);
    clients.push(client);
    // Opens streams and never reads from them.
    for (const stream of [
      client.runtime.getContainerEvents({}, { signal: abort.signal }),
      client.runtime.streamContainers({}, { signal: abort.signal }),
    ]) {
      const reader = (stream as AsyncIterable<unknown>)[Symbol.asyncIterator]();
      ends.push(reader.next().catch(() => undefined));
    }
  }
  return {
    async end(): Promise<Outcome> {
      abort.abort();
      await Promise.all(ends);
      for (const client of clients) client.close();
      return {
        lines: [`${count} clients of the CRI, each with a stream of events and one of containers`],
        failures: [],
      };
    },
  };
}

async function execReaders({ stage, image }: Scene, count: number) {
  const pod = await runPod(stage, 'readers');
  const containerId = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
  const clients: CommandClient[] = [];
  for (let index = 0; index < count; index += 1) {
    const streams = { tty: false, stdin: false, stdout: true, stderr: true };
    const { url } = await stage.daemon.cri.runtime.exec({
      containerId,
      cmd: ['nice', '-n', '19', 'yes'],
      ...streams,
    });
    const client = await openCommand(url);
    client.socket.pause();
    clients.push(client);
  }
  return {
    async end(): Promise<Outcome> {
      for (const client of clients) client.drop();
      await removePod(stage, pod);
      return { lines: [`${count} commands that write without end, none of them read`], failures: [] };
    },
  };
}
