import { createSocket } from 'node:dgram';
import type { Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { CLONE_NEWNET, unshare } from '../../base/kernel/index.ts';
import type { Answer, Order, Probe } from './end.ts';

const { apart } = workerData as { readonly apart: boolean };
if (apart) unshare(CLONE_NEWNET);

/** Sockets that are open at a time. */
const most = 128;

/**
 * Time is counted in turns of this thread: on a machine that gives its threads no time, it stands still, and
 * an answer that is only late is not taken for a loss.
 */
const turnMs = 25;
const againMs = 200;
interface Later {
  turns: number;
  readonly run: () => void;
}
const waiting = new Set<Later>();
setInterval(() => {
  for (const each of waiting) {
    each.turns -= 1;
    if (each.turns > 0) continue;
    waiting.delete(each);
    each.run();
  }
}, turnMs);
function later(ms: number, run: () => void): Later {
  const each = { turns: Math.ceil(ms / turnMs), run };
  waiting.add(each);
  return each;
}

async function serve(address: string, ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    const answer = (client = ''): string => `${address} ${port} ${client}\n`;
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      // It answers each message, so that a flow can be asked again.
      socket.write(answer(socket.remoteAddress));
      socket.on('data', () => socket.write(answer(socket.remoteAddress)));
    });
    server.listen(port, address);
    await once(server, 'listening');
    const datagrams = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    datagrams.on('message', (_, peer) => datagrams.send(answer(peer.address), peer.port, peer.address));

    datagrams.bind(port, address);
    await once(datagrams, 'listening');
  }
}

/** A connection, or a flow of datagrams. */
interface Flow {
  /** Sends, and resolves to what comes back. */
  ask(patienceMs: number, first?: boolean): Promise<Answer>;
  end(): void;
}

function openTcp({ address, port }: Probe, from: string | undefined): Flow {
  const socket: Socket = connect({ host: address, port, ...(from !== undefined && { localAddress: from }) });
  let failure: string | undefined;
  socket.setNoDelay(true);
  socket.on('error', (error: NodeJS.ErrnoException) => (failure ??= error.code ?? 'ERROR'));
  socket.on('close', () => (failure ??= 'closed'));
  return {
    ask: (patienceMs, first = false) =>
      new Promise((resolve) => {
        if (failure !== undefined) return resolve(failure);
        const timer = later(patienceMs, () => done('dropped'));
        const done = (answer: string): void => {
          waiting.delete(timer);
          socket.off('data', told).off('close', closed);
          resolve(answer);
        };
        const told = (data: Buffer | string): void => done(data.toString().trim().split('\n').at(-1) ?? '');
        const closed = (): void => done(failure ?? 'closed');
        socket.on('data', told).on('close', closed);
        if (!first) socket.write('x');
      }),
    // With a reset, so that nothing of it lingers.
    end: () => void socket.resetAndDestroy(),
  };
}

function openUdp({ address, port }: Probe, from: string | undefined): Flow {
  const socket: DatagramSocket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  let failure: string | undefined;
  socket.on('error', (error: NodeJS.ErrnoException) => (failure ??= error.code ?? 'ERROR'));
  const connected = new Promise<void>((resolve) => {
    socket.once('error', () => resolve());
    socket.bind({ address: from ?? (address.includes(':') ? '::' : '0.0.0.0'), port: 0 }, () =>
      socket.connect(port, address, () => resolve()),
    );
  });
  return {
    ask: async (patienceMs) => {
      await connected;
      return new Promise((resolve) => {
        if (failure !== undefined) {
          const earlier = failure;
          failure = undefined;
          return resolve(earlier);
        }
        const timer = later(patienceMs, () => done('dropped'));
        // The kernel limits how many refusals it sends, and a datagram is not repeated by itself.
        const again = setInterval(() => socket.send('x'), againMs);
        const done = (answer: string): void => {
          waiting.delete(timer);
          clearInterval(again);
          socket.off('message', told).off('error', failed);
          failure = undefined;
          resolve(answer);
        };
        const told = (data: Buffer): void => done(data.toString().trim());
        const failed = (error: NodeJS.ErrnoException): void => done(error.code ?? 'ERROR');
        socket.on('message', told).on('error', failed);
        socket.send('x');
      });
    },
    end: () => void socket.close(),
  };
}

const open = (probe: Probe, from: string | undefined): Flow =>
  probe.protocol === 'tcp' ? openTcp(probe, from) : openUdp(probe, from);

/** Runs them, as many at a time as sockets may be open. */
async function each<T>(runs: readonly (() => Promise<T>)[]): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < runs.length) {
      const at = next++;
      results[at] = await runs[at]!();
    }
  };
  await Promise.all(Array.from({ length: Math.min(most, runs.length) }, worker));
  return results;
}

/** Returns the answers of each probe. */
async function askAll(
  probes: readonly Probe[],
  ask: (probe: Probe, from: string | undefined) => Promise<Answer>,
): Promise<Answer[][]> {
  const answers = await each(probes.flatMap((probe) => probe.froms.map((from) => () => ask(probe, from))));
  let at = 0;
  return probes.map(({ froms }) => answers.slice(at, (at += froms.length)));
}

let kept: Flow[][] = [];

async function follow(order: Order): Promise<unknown> {
  switch (order.verb) {
    case 'serve':
      return serve(order.address, order.ports);
    case 'probe':
      return askAll(order.probes, async (probe, from) => {
        const flow = open(probe, from);
        const answer = await flow.ask(probe.patienceMs, true);
        flow.end();
        return answer;
      });
    case 'open': {
      kept = order.flows.map((flow) => flow.froms.map((from) => open(flow, from)));
      return Promise.all(
        kept.map((flows, at) =>
          Promise.all(flows.map((flow) => flow.ask(order.flows[at]?.patienceMs ?? 0, true))),
        ),
      );
    }
    case 'ask':
      return Promise.all(kept.map((flows) => Promise.all(flows.map((flow) => flow.ask(order.patienceMs)))));
    case 'end':
      for (const flow of kept.flat()) flow.end();
      kept = [];
      return undefined;
    case 'get':
      return get(order.address, order.port);
  }
}

async function get(address: string, port: number): Promise<string> {
  const host = address.includes(':') ? `[${address}]` : address;
  try {
    const answer = await fetch(`http://${host}:${port}/`, { signal: AbortSignal.timeout(5000) });
    return `${answer.status} ${await answer.text()}`;
  } catch (thrown) {
    return (thrown as { cause?: { code?: string } }).cause?.code ?? 'no answer';
  }
}

parentPort?.on('message', ({ id, order }: { id: number; order: Order }) => {
  follow(order).then(
    (answer) => parentPort?.postMessage({ id, answer }),
    (thrown: unknown) => parentPort?.postMessage({ id, failure: String(thrown) }),
  );
});
parentPort?.postMessage({ thread: readlinkSync('/proc/thread-self').split('/').at(-1) });
