import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { listConnections, openNetlink } from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import type { VirtualServer } from '../model/model.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { openNftablesBalancer } from './balancer.ts';
import { bring } from './reconcile.ts';

/** Kills a process between two calls of the kernel, at a chosen one. The next process repairs everything. */
if (inPrivateNetns(import.meta.filename)) {
  shell('ip link set lo up; ip route add 10.96.0.0/16 dev lo');
  const killed = new Error('killed here');
  const calls = (isLast: (call: 'change' | 'list', before: number) => boolean): NetlinkSocket => {
    const socket = openNetlink(NETLINK_NETFILTER);
    const before = { change: 0, list: 0 };
    const counted = (call: 'change' | 'list'): void => {
      if (isLast(call, before[call])) {
        socket.close();
        throw killed;
      }
      before[call] += 1;
    };
    return {
      ...socket,
      send(requests) {
        counted('change');
        return socket.send(requests);
      },
      dump(request) {
        // Subsystem 1 of netfilter: connection tracking.
        if (request.type >> 8 === 1) counted('list');
        return socket.dump(request);
      },
    };
  };

  test('between two portions of many servers: no server exists with only a part of its slots', () => {
    const servers = (backend: number): VirtualServer[] =>
      Array.from({ length: 300 }, (_, index) => ({
        ...webServer,
        service: `service-${index}`,
        scheduler: 'sh',
        address: `10.96.${index >> 8}.${index & 255}`,
        destinations: [3, 4].map((each) => ({ address: `10.2.${backend}.${each}`, port: 8080, weight: 1 })),
      }));
    const slots = (): number =>
      Number(shell(`nft list map ip portcullis_services slots16 | grep -o ' : 10[.]2[.]1[.]' | wc -l`));
    const first = openNftablesBalancer();
    first.reconcile(servers(0));
    first.close();
    assert.throws(
      () =>
        bring(
          calls((call, before) => call === 'change' && before === 1),
          4,
          servers(1),
        ),
      killed,
    );
    const half = slots();
    assert.ok(half > 0 && half < 300 * 16, `${half} slots are new`);
    const next = openNftablesBalancer();
    try {
      assert.ok(next.reconcile(servers(1)) > 0);
      assert.equal(slots(), 300 * 16);
      assert.equal(next.reconcile(servers(1)), 0);
    } finally {
      next.removeAll();
      next.close();
    }
  });

  test('between a change and the end of stale connections: an earlier UDP sender does not go on to a removed backend', async () => {
    const dns: VirtualServer = { ...webServer, address: '10.96.0.53', protocol: 'udp', port: 53 };
    const netfilter = openNetlink(NETLINK_NETFILTER);
    const tracked = (): number =>
      listConnections(netfilter, 2, { protocol: 17, to: Buffer.of(10, 96, 0, 53), portTo: 53 }).length;
    const first = openNftablesBalancer();
    first.reconcile([]);
    first.close();
    const sender = createSocket('udp4');
    sender.send('who?', 53, '10.96.0.53');
    await once(sender, 'listening');
    while (tracked() === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.throws(
      () =>
        bring(
          calls((call) => call === 'list'),
          4,
          [dns],
        ),
      killed,
    );
    assert.equal(tracked(), 1);
    const next = openNftablesBalancer();
    try {
      assert.equal(next.reconcile([dns]), 0, 'the rules are complete');
      assert.equal(tracked(), 0);
    } finally {
      next.removeAll();
      next.close();
      sender.close();
      netfilter.close();
    }
  });
}
