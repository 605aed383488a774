import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import type { VirtualServer } from '../model/model.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { openNftablesBalancer } from './balancer.ts';

/** Real connections to services with hundreds of backends, which have the largest map of slots. */
if (inPrivateNetns(import.meta.filename)) {
  shell(
    'ip link set lo up; ip address add 10.9.0.1/32 dev lo; ip route add local 10.1.0.0/16 dev lo; ip route add 10.96.0.0/16 dev lo src 10.9.0.1',
  );
  const serverOf = (count: number, port: number, more: Partial<VirtualServer> = {}): VirtualServer => ({
    ...webServer,
    address: '10.96.0.1',
    port: 80,
    scheduler: 'rr',
    destinations: Array.from({ length: count }, (_, index) => ({
      address: `10.1.${index >> 8}.${index & 255}`,
      port,
      weight: 1,
    })),
    ...more,
  });

  /** Opens this many connections, one after the other. Returns how many each backend got. */
  async function reached(connections: number): Promise<ReadonlyMap<string, number>> {
    const counts = new Map<string, number>();
    for (let count = 0; count < connections; count += 1) {
      const client = connect({ host: '10.96.0.1', port: 80 });
      const [address] = (await once(client, 'data')) as [Buffer];
      client.destroy();
      counts.set(String(address), (counts.get(String(address)) ?? 0) + 1);
    }
    return counts;
  }

  const listener = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(socket.localAddress ?? '');
  });
  listener.listen(0, '0.0.0.0');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;

  test('300 backends share the connections, also while their number changes', async () => {
    const balancer = openNftablesBalancer();
    balancer.reconcile([serverOf(300, port)]);
    const counts = await reached(1200);
    // By chance, five of 300 get none, and nobody gets five times its share.
    assert.ok(counts.size > 270 && Math.max(...counts.values()) < 20, `${counts.size}`);
    const meanwhile = new Set<string>();
    for (const count of [301, 300, 299, 300, 301, 302]) {
      balancer.change([serverOf(count, port)], []);
      for (const each of (await reached(50)).keys()) meanwhile.add(each);
    }
    assert.ok(meanwhile.size > 150, `${meanwhile.size} of 300 connections went to different backends`);
    balancer.change([serverOf(2, port)], []);
    assert.deepEqual([...(await reached(20)).values()], [10, 10]);
    balancer.removeAll();
    balancer.close();
  });

  test('with a hash, a client reaches one of 300 backends; with maglev, all 1021 backends have a slot', async () => {
    const balancer = openNftablesBalancer();
    balancer.reconcile([serverOf(300, port, { scheduler: 'sh' })]);
    assert.deepEqual([...(await reached(20)).values()], [20]);
    balancer.change([serverOf(1021, port, { scheduler: 'maglev' })], []);
    assert.ok((await reached(100)).size > 50, 'each port of the client is hashed');
    balancer.removeAll();
    balancer.close();
  });

  test('a table of an earlier version, which lacks the largest map, gets it with the first service that needs it', async () => {
    const few = serverOf(2, port);
    const balancer = openNftablesBalancer();
    balancer.reconcile([few]);
    shell('nft delete map ip portcullis_services slots1024');
    balancer.close();
    const next = openNftablesBalancer();
    assert.equal(next.reconcile([few]), 0, 'the table stays');
    next.change([serverOf(300, port)], []);
    assert.ok((await reached(900)).size > 250);
    next.removeAll();
    next.close();
  });

  test.after(() => listener.close());
}
