import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import type { VirtualServer } from '../model/model.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { openNftablesBalancer } from './balancer.ts';

/** Clients that a server remembers keep one backend, also if their slot is gone. */
if (inPrivateNetns(import.meta.filename)) {
  shell('ip link set lo up; ip route add 10.96.0.0/16 dev lo; ip route add local 10.1.0.0/16 dev lo');
  const balancer = openNftablesBalancer();
  const backend = (number: number): string => `10.1.1.${number}`;
  const servers = [1, 2, 3].map((number) =>
    createServer((socket) => socket.end(backend(number))).listen(8080, backend(number)),
  );
  before(async () => {
    for (const server of servers) if (!server.listening) await once(server, 'listening');
  });
  after(() => {
    for (const server of servers) server.close();
    balancer.removeAll();
    balancer.close();
  });

  const withBackends = (count: number, more: Partial<VirtualServer>): VirtualServer => ({
    ...webServer,
    persistenceSeconds: 60,
    destinations: Array.from({ length: count }, (_, index) => ({
      address: backend(index + 1),
      port: 8080,
      weight: 1,
    })),
    ...more,
  });
  const clients = Array.from({ length: 16 }, (_, index) => `10.1.2.${index + 1}`);
  /** Returns the backend that answers a client. */
  async function ask(localAddress: string): Promise<string> {
    const socket = connect({ host: webServer.address ?? '', port: 80, localAddress });
    let text = '';
    socket.on('data', (data) => (text += String(data)));
    await once(socket, 'close');
    return text;
  }

  for (const [title, more] of [
    ['alone', {}],
    ['together with another server', { remembersAs: { address: '10.96.0.1', port: 80 } }],
  ] as const)
    test(`clients keep one backend after their service had none for a while (remembered ${title})`, async () => {
      balancer.reconcile([withBackends(3, more)]);
      for (const client of clients) await ask(client);
      balancer.change([withBackends(0, more)], []);
      balancer.change([withBackends(2, more)], []);
      const moving: string[] = [];
      const used = new Set<string>();
      for (const client of clients) {
        const answers = new Set<string>();
        for (let attempt = 0; attempt < 6; attempt += 1) answers.add(await ask(client));
        if (answers.size > 1) moving.push(`${client}: ${[...answers].join(', ')}`);
        for (const answer of answers) used.add(answer);
      }
      assert.deepEqual(moving, []);
      assert.deepEqual([...used].toSorted(), [backend(1), backend(2)]);
      balancer.reconcile([]);
    });
}
