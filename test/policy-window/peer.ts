/**
 * A host that pods send to, in a network namespace of its own: counts the words that arrive, and sends to
 * every address that a pod may have. Gets its orders from its parent.
 */
import { createSocket } from 'node:dgram';
import { setTimeout as pause } from 'node:timers/promises';
import { port } from './sender-program.ts';

/** Words by the address of their sender. */
export type Heard = Readonly<Record<string, readonly string[]>>;

const heard: Record<string, string[]> = {};
const sockets = (['udp4', 'udp6'] as const).map((type) => {
  const socket = createSocket({ type, ...(type === 'udp6' && { ipv6Only: true }) });
  socket.on('message', (message, { address }) => {
    const word = message.toString();
    if (word === flood) return;
    const words = (heard[address] ??= []);
    if (!words.includes(word)) words.push(word);
  });
  socket.bind(port);
  return { type, socket };
});

const flood = 'flood';
const addresses = process.argv.slice(2);
/** Between two rounds of datagrams to all addresses. */
const roundMs = 2;
let isSending = true;

process.on('message', (order: 'report' | 'end') => {
  if (order === 'report') process.send?.(heard);
  else {
    isSending = false;
    process.disconnect?.();
  }
});
process.on('disconnect', () => process.exit(0));
await Promise.all(sockets.map(({ socket }) => new Promise((listens) => socket.once('listening', listens))));
process.send?.('listens');
while (isSending) {
  for (const address of addresses) {
    const socket = sockets.find(({ type }) => type === (address.includes(':') ? 'udp6' : 'udp4'))?.socket;
    // An address that no pod has at this moment, and a packet that a rule of this host drops.
    socket?.send(flood, port, address, () => undefined);
  }
  await pause(roundMs);
}
