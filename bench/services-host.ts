/** One end of the connections of bench/services.ts: a thread in its own network namespace. */
import { readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { CLONE_NEWNET, closeFd, connectTcp, unshare } from '../base/kernel/index.ts';

unshare(CLONE_NEWNET);
const { role } = workerData as { readonly role: 'client' | 'server' };

if (role === 'server') {
  parentPort?.once('message', () => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.destroy();
    });
    server.listen({ host: '0.0.0.0', port: 8080, backlog: 4096 }, () => parentPort?.postMessage('listening'));
  });
} else {
  // Between namespaces of one host the whole handshake completes inside connect(2).
  parentPort?.on(
    'message',
    ({
      address,
      port,
      times,
    }: {
      readonly address: string;
      readonly port: number;
      readonly times: number;
    }) => {
      const peer = { address: Buffer.from(address.split('.').map(Number)), port };
      const taken: number[] = [];
      for (let time = 0; time < times; time += 1) {
        const begin = performance.now();
        const fd = connectTcp(peer);
        taken.push(performance.now() - begin);
        closeFd(fd);
      }
      parentPort?.postMessage(taken);
    },
  );
}
parentPort?.postMessage(readlinkSync('/proc/thread-self').split('/').at(-1));
