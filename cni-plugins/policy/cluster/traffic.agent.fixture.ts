import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

/** Runs in a pod's network namespace: answers on some ports, and tries connections when it is asked. */

export interface Target {
  readonly host: string;
  readonly protocol: 'TCP' | 'UDP';
  readonly port: number;
}

const patienceMs = 350;
const [tcpPorts, udpPorts] = [process.argv[2], process.argv[3]].map((text) =>
  (text ?? '').split(',').map(Number),
);

for (const port of tcpPorts ?? [])
  createServer((socket) => socket.on('error', () => socket.destroy()).end('here')).listen(port, '::');
for (const port of udpPorts ?? []) {
  const socket = createSocket({ type: 'udp6' });
  socket.on('message', (message, { port: from, address }) => socket.send(message, from, address));
  socket.bind(port, '::');
}

const overTcp = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (reached: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(reached);
    };
    const timer = setTimeout(end, patienceMs, false);
    socket.once('data', () => end(true));
    socket.once('error', () => end(false));
  });

const overUdp = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const end = (reached: boolean): void => {
      clearTimeout(timer);
      socket.close();
      resolve(reached);
    };
    const timer = setTimeout(end, patienceMs, false);
    socket.once('message', () => end(true));
    socket.once('error', () => end(false));
    socket.send('hello', port, host);
  });

process.on('message', (targets: readonly Target[]) => {
  void Promise.all(
    targets.map(({ host, protocol, port }) => (protocol === 'TCP' ? overTcp : overUdp)(host, port)),
  ).then((reached) => process.send?.(reached));
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
