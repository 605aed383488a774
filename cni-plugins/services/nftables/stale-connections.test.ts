import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { listConnections, openNetlink } from '../../../base/netlink/index.ts';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { keyOf } from '../model/model.ts';
import type { VirtualServer } from '../model/model.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { openNftablesBalancer } from './balancer.ts';

/** Which flows of UDP are forgotten when a server loses a destination. */
if (inPrivateNetns(import.meta.filename)) {
  shell('ip link set lo up; ip addr add 10.5.0.1/32 dev lo; ip route add local 10.7.0.0/24 dev lo');
  shell(
    'ip route add 10.96.0.0/16 dev lo; ip route add 10.1.0.0/16 dev lo; ip route add 198.51.100.0/24 dev lo',
  );
  const port = 30_053;
  const netfilter = openNetlink(NETLINK_NETFILTER);
  const balancer = openNftablesBalancer();
  after(() => {
    balancer.removeAll();
    balancer.close();
    netfilter.close();
  });
  const served = (more: Partial<VirtualServer>, ...backends: readonly number[]): VirtualServer => ({
    ...webServer,
    protocol: 'udp',
    port,
    destinations: backends.map((number) => ({ address: `10.1.0.${number}`, port: 53, weight: 1 })),
    ...more,
  });
  const nodePort = (...backends: readonly number[]): VirtualServer => {
    const { address: _, ...rest } = served({ kind: 'node', service: 'shop/dns.external' }, ...backends);
    return rest;
  };
  const tracked = (): string[] =>
    listConnections(netfilter, 2, { protocol: 17, portTo: port })
      .map(({ to, answeredBy }) => `${[...to].join('.')} answered by ${[...answeredBy].join('.')}`)
      .toSorted();

  test('a node port forgets the flows to an address of the host, and no others at the same port', async () => {
    const other = served({ address: '10.96.0.9', service: 'other/game' }, 9);
    balancer.reconcile([other, nodePort(2)]);
    const sender = createSocket('udp4');
    const addresses = ['10.5.0.1', '10.7.0.3', '10.96.0.9', '198.51.100.7'];
    for (const address of addresses) sender.send('?', port, address);
    await once(sender, 'listening');
    while (tracked().length < addresses.length) await new Promise((resolve) => setTimeout(resolve, 10));
    const foreign = ['10.96.0.9 answered by 10.1.0.9', '198.51.100.7 answered by 198.51.100.7'];
    assert.deepEqual(tracked(), [
      '10.5.0.1 answered by 10.1.0.2',
      '10.7.0.3 answered by 10.1.0.2',
      ...foreign,
    ]);
    balancer.change([nodePort(3)], []);
    assert.deepEqual(tracked(), foreign);
    sender.close();
  });

  test('a node port cuts the connections to an address of the host, and none of another service at the same port', async () => {
    // The same backend answers for both services.
    const other = served({ address: '10.96.0.9', service: 'other/game' }, 2);
    const atHost = served({ address: '10.5.0.1', service: 'other/host' }, 2);
    balancer.reconcile([other, atHost, nodePort(2)]);
    const sender = createSocket('udp4');
    const addresses = ['10.5.0.1', '10.7.0.3', '10.96.0.9'];
    for (const address of addresses) sender.send('?', port, address);
    await once(sender, 'listening');
    const answered = (): string[] => tracked().filter((each) => each.endsWith(' 10.1.0.2'));
    while (answered().length < addresses.length) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(balancer.cut(keyOf(nodePort()), { address: '10.1.0.2', port: 53 }), 1);
    assert.deepEqual(answered(), ['10.5.0.1 answered by 10.1.0.2', '10.96.0.9 answered by 10.1.0.2']);
    sender.close();
  });
}
