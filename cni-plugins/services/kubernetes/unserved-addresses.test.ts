import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ipBytes, parseIp } from '../../../base/addresses/index.ts';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { listConnections, openNetlink } from '../../../base/netlink/index.ts';
import { inPrivateNetns, shell, tried } from '../../engine/engine.fixture.ts';
import { openNftablesBalancer } from '../nftables/balancer.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { hasUnservedRules, openUnservedAddresses } from './unserved-addresses.ts';

/** Cluster addresses without a service, on the real kernel. */
if (inPrivateNetns(import.meta.filename)) {
  shell(
    [
      'ip link set lo up; ip link add uplink type veth peer name outside; ip link set uplink up; ip link set outside up',
      'ip address add 192.0.2.2/24 dev uplink; ip route add default via 192.0.2.1',
      'ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev uplink',
      'ip -6 address add 2001:db8::2/64 dev uplink nodad; ip -6 route add default via 2001:db8::1',
      'ip -6 neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 dev uplink',
    ].join(';'),
  );
  // The kernel tracks connections while a rule asks for them.
  const track =
    'table inet tracking { chain output { type filter hook output priority 0; ct state new accept; }; }';
  shell(`nft '${track}'`);
  const listener = createServer((socket) => socket.end('served'));
  listener.listen(0, '0.0.0.0');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  after(() => listener.close());
  /** Whether a connection to port 80 of the address is tracked: its first packet left the host. */
  const isTracked = (host: string): boolean => {
    const to = parseIp(host);
    assert.ok(to !== undefined);
    const filter = openNetlink(NETLINK_NETFILTER);
    const found = listConnections(filter, to.family === 4 ? 2 : 10, {
      protocol: 6,
      to: Buffer.from(ipBytes(to)),
      portTo: 80,
    });
    filter.close();
    return found.length > 0;
  };
  const ranges = ['10.96.0.0/16', 'fd00:10:96::/112'];
  const began = (host: string): Socket => {
    const client = connect({ host, port: 80 });
    client.on('error', () => undefined);
    return client;
  };
  const rules = (): string => tried('nft list ruleset | grep -A20 portcullis_service_ranges') ?? '';

  test('a client that connects before its service is known is served with its next packet', async (t) => {
    const unserved = openUnservedAddresses();
    const balancer = openNftablesBalancer();
    t.after(() => {
      unserved.set([]);
      unserved.close();
      balancer.removeAll();
      balancer.close();
    });
    balancer.reconcile([{ ...webServer, address: '10.96.0.1', port: 81 }]);
    unserved.set(ranges);
    const client = began('10.96.0.9');
    const answer = once(client, 'data', { signal: AbortSignal.timeout(10_000) });
    await sleep(200);
    assert.equal(isTracked('10.96.0.9'), false);
    const destinations = [{ address: '192.0.2.2', port, weight: 1 }];
    balancer.change([{ ...webServer, address: '10.96.0.9', port: 80, destinations }], []);
    assert.equal(String((await answer)[0]), 'served');
    client.destroy();
  });

  test('other addresses, addresses of the host, and cluster addresses without the rules are not affected', async (t) => {
    const unserved = openUnservedAddresses();
    t.after(() => unserved.close());
    const leaves = async (host: string): Promise<boolean> => {
      const client = began(host);
      await sleep(100);
      const hasLeft = isTracked(host);
      client.destroy();
      return hasLeft;
    };
    assert.equal(await leaves('10.96.0.77'), true);
    unserved.set(ranges);
    assert.equal(await leaves('10.96.0.78'), false);
    assert.equal(await leaves('fd00:10:96::78'), false);
    assert.equal(await leaves('10.97.0.1'), true);
    assert.equal(await leaves('fd00:10:97::1'), true);
    shell('ip address add 10.96.0.5/32 dev lo');
    const refused = connect({ host: '10.96.0.5', port: 9 });
    const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNREFUSED');
    unserved.set([]);
    assert.equal(rules(), '');
  });

  test('rules of an earlier process stay until the ranges are known; rules that another program changed are restored', () => {
    const first = openUnservedAddresses();
    first.set(ranges);
    first.close();
    const kept = rules();
    assert.match(kept, /10\.96\.0\.0\/16/u);
    const unserved = openUnservedAddresses();
    unserved.repair();
    assert.equal(rules(), kept);
    unserved.set(['10.96.0.0/16']);
    shell('nft flush chain ip portcullis_service_ranges unserved');
    unserved.repair();
    assert.match(rules(), /10\.96\.0\.0\/16/u);
    shell(
      `nft replace rule ip portcullis_service_ranges unserved handle $(nft -a list chain ip portcullis_service_ranges unserved | sed -n 's/.*10.96.*handle //p') ip daddr 10.0.0.0/8 drop`,
    );
    assert.match(rules(), /10\.0\.0\.0\/8/u);
    unserved.repair();
    assert.match(rules(), /10\.96\.0\.0\/16/u);
    assert.doesNotMatch(rules(), /10\.0\.0\.0\/8/u);
    shell('nft flush ruleset');
    unserved.repair();
    assert.match(rules(), /10\.96\.0\.0\/16/u);
    assert.doesNotMatch(rules(), /ip6/u);
    assert.equal(hasUnservedRules(), true);
    unserved.set([]);
    unserved.close();
    assert.equal(rules(), '');
    assert.equal(hasUnservedRules(), false);
  });
}
