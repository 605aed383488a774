import { createSocket } from 'node:dgram';
import type { Socket as DatagramSocket } from 'node:dgram';
import { readlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { CLONE_NEWNET, unshare } from '../../../base/kernel/index.ts';
import type { Order, StreamReport } from './hosts.fixture.ts';

/**
 * One end of the tests: a thread, with a host in a network namespace of its own, which ends with the thread.
 * Its servers answer with their own name and the client's address.
 */

const { name, apart } = workerData as { readonly name: string; readonly apart: boolean };
if (apart) unshare(CLONE_NEWNET);
const streams = new Map<number, { socket: Socket; report: StreamReport; timer: NodeJS.Timeout }>();
const datagrams = new Map<number, DatagramSocket>();

const greeting = (address: string | undefined): string =>
  `${name} ${(address ?? '').replace('::ffff:', '')}\n`;

function serve({ protocol, address, port }: Extract<Order, { verb: 'serve' }>): Promise<void> {
  return new Promise((resolve, reject) => {
    if (protocol === 'tcp') {
      const server = createServer((socket) => {
        socket.on('error', () => socket.destroy());
        socket.write(greeting(socket.remoteAddress));
        socket.pipe(socket);
      });
      server.once('error', reject).listen(port, address, resolve);
      return;
    }
    const server = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    server.on('message', (_, peer) => server.send(greeting(peer.address), peer.port, peer.address));
    server.once('error', reject).bind(port, address, resolve);
  });
}

/**
 * Makes one connection, which ends with a reset so that nothing of it lingers. Returns the greeting, or the
 * errno.
 */
function greet({
  address,
  port,
  from,
}: {
  readonly address: string;
  readonly port: number;
  readonly from?: string;
}): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, ...(from !== undefined && { localAddress: from }) });
    const timer = setTimeout(() => end('TIMEOUT'), 20_000);
    const end = (answer: string): void => {
      clearTimeout(timer);
      socket.resetAndDestroy();
      resolve(answer);
    };
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'ERROR'));
    socket.once('data', (data) => end(data.toString().trim()));
  });
}

function openStream(id: number, { address, port }: Extract<Order, { verb: 'stream' }>): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const report: StreamReport = { sent: 0, received: 0, inOrder: true };
    let greeted = false;
    socket.on('error', (error: NodeJS.ErrnoException) => {
      report.failure ??= error.code ?? 'ERROR';
      if (!greeted) resolve(report.failure);
    });
    socket.on('close', () => (report.failure ??= streams.has(id) ? 'CLOSED' : undefined));
    socket.on('data', (data) => {
      let echoed = typeof data === 'string' ? Buffer.from(data) : data;
      if (!greeted) {
        greeted = true;
        const end = echoed.indexOf(10) + 1;
        resolve(echoed.toString('latin1', 0, end).trim());
        echoed = echoed.subarray(end);
        const timer = setInterval(() => {
          const chunk = Buffer.alloc(256);
          for (let at = 0; at < chunk.length; at += 1) chunk[at] = (report.sent + at) & 0xff;
          report.sent += chunk.length;
          socket.write(chunk);
        }, 100);
        streams.set(id, { socket, report, timer });
      }
      for (const byte of echoed) {
        if (byte !== (report.received & 0xff)) report.inOrder = false;
        report.received += 1;
      }
    });
  });
}

function ask(id: number, { address, port }: Extract<Order, { verb: 'ask' }>): Promise<string> {
  return new Promise((resolve) => {
    const socket = datagrams.get(id) ?? createSocket(address.includes(':') ? 'udp6' : 'udp4');
    datagrams.set(id, socket);
    let tries = 0;
    const again = setInterval(() => {
      tries += 1;
      if (tries > 40) end('TIMEOUT');
      else socket.send('x', port, address);
    }, 250);
    const end = (answer: string): void => {
      clearInterval(again);
      socket.removeAllListeners();
      resolve(answer);
    };
    socket.once('message', (data) => end(data.toString().trim()));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'ERROR'));
    socket.send('x', port, address);
  });
}

async function follow(id: number, order: Order): Promise<unknown> {
  switch (order.verb) {
    case 'serve':
      return serve(order);
    case 'greet': {
      const answers: string[] = [];
      for (let at = 0; at < order.times; at += 1)
        answers.push(
          await greet({ ...order, ...(order.froms && { from: order.froms[at % order.froms.length] }) }),
        );
      return answers;
    }
    case 'stream':
      return openStream(id, order);
    case 'ask':
      return ask(order.flow, order);
    case 'report':
      return streams.get(order.stream)?.report;
    case 'end': {
      const stream = streams.get(order.stream);
      streams.delete(order.stream);
      clearInterval(stream?.timer);
      stream?.socket.resetAndDestroy();
      return stream?.report;
    }
  }
}

parentPort?.on('message', ({ id, order }: { id: number; order: Order }) => {
  follow(id, order).then(
    (answer) => parentPort?.postMessage({ id, answer }),
    (thrown: unknown) => parentPort?.postMessage({ id, failure: String(thrown) }),
  );
});
parentPort?.postMessage({ thread: readlinkSync('/proc/thread-self').split('/').at(-1) });
