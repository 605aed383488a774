import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually, inPrivateNetns, shell, startFixture, tried } from '../engine/engine.fixture.ts';
import type { Pod } from '../engine/engine.fixture.ts';

/**
 * Checks what is reported as denied to a pod whose link lets nothing through: packets sent to it, and not
 * broadcasts.
 */
if (inPrivateNetns(import.meta.filename)) {
  const { fixture, engine } = await startFixture();
  const [closed, other, routed] = ['closed', 'other', 'routed'].map((name) => fixture.pod(name));
  assert.ok(closed && other && routed);
  const denied = async (): Promise<string[]> =>
    (await engine.denials()).map(({ pod, direction, rule }) => `${pod.name} ${direction} ${rule}`);
  const ingress = async (): Promise<string[]> =>
    (await denied()).filter((line) => line.includes(' ingress '));
  const plain = (address = ''): string => address.split('/')[0] ?? '';

  /**
   * Sends a datagram from the host or from a pod; the test is about the requests that the kernel sends before
   * it.
   */
  const report = (to: string, link: string, from?: Pod): void => {
    const script = [
      'import contextlib, socket',
      `six = ":" in "${to}"`,
      's = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)',
      's.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)',
      `s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"${link}")`,
      // When a rule drops a packet of the host itself, the send fails.
      'with contextlib.suppress(PermissionError):',
      `  s.sendto(b"x", ("${to}", 9, 0, socket.if_nametoindex("${link}")) if six else ("${to}", 9))`,
    ].join('\n');
    const command = `python3 -c '${script}'`;
    assert.notEqual(from === undefined ? tried(command) : from.run(command), undefined, `${to} by ${link}`);
  };

  test('on a bridge, broadcast and multicast packets are dropped and not reported', async () => {
    await engine.attach(closed.request);
    await engine.attach(other.request);
    await engine.setClass(other.request.id, 'user');
    // From the host: to the all-nodes and all-routers groups, to broadcast, and to addresses that no host
    // has. Then the host gets a new address itself.
    for (const to of ['ff02::1', 'ff02::2', '10.88.0.255', '224.0.0.251', '10.88.0.77', 'fd00:88::77'])
      report(to, 'cni0');
    shell('ip addr add fd00:88::55/64 dev cni0');
    for (const to of ['10.88.0.78', 'fd00:88::78']) report(to, 'eth0', other);
    await pause(1500);
    assert.match(shell('nft list chain bridge portcullis closed_to'), /drop/);
    assert.deepEqual(await denied(), []);
  });

  for (const [what, address] of [
    ['by ARP', '10.88.0.2'],
    ['by neighbour discovery', 'fd00:88::2'],
  ] as const)
    test(`a request for the address of the pod ${what} is reported as denied`, async () => {
      await engine.gc(new Set());
      const { ips } = await engine.attach(closed.request);
      await engine.attach(other.request);
      await engine.setClass(other.request.id, 'user');
      const own = plain(ips.find((ip) => ip.address.includes(':') === address.includes(':'))?.address);
      report(own, 'eth0', other);
      await eventually(
        () =>
          /counter packets [1-9]/u.exec(tried('nft list set bridge portcullis denied_to') ?? '') ?? undefined,
        5_000,
      );
      assert.deepEqual(await denied(), ['closed ingress network.none']);
    });

  test('on a bridge with a multicast querier, a pod can be found over IPv6 at once after it waited for its class', async () => {
    await engine.gc(new Set());
    await engine.attach(other.request);
    await engine.setClass(other.request.id, 'user');
    shell(
      'ip link set cni0 type bridge mcast_query_response_interval 100; ip link set cni0 type bridge mcast_querier 1',
    );
    // A bridge becomes the querier itself once others had the time to answer.
    await pause(3000);
    const { ips } = await engine.attach(closed.request);
    const own = plain(ips.find(({ address }) => address.includes(':'))?.address);
    // By then the pod's kernel has reported its groups, and the link was closed.
    await pause(4000);
    await engine.setClass(closed.request.id, 'user');
    const found = (): true | undefined => {
      report(own, 'eth0', other);
      return /lladdr/u.test(other.run(`ip -6 neigh show ${own}`) ?? '') ? true : undefined;
    };
    await eventually(found, 5_000);
    shell('ip link set cni0 type bridge mcast_querier 0');
  });

  test('on a link that the host routes to, packets to groups are not reported, and packets to the address of the pod are', async () => {
    const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
    const ranges = [[{ subnet: '10.90.0.0/24' }], [{ subnet: 'fd00:90::/64' }]];
    const plugin = { type: 'portcullis-ptp', ipam: { type: 'host-local', ranges, routes } };
    writeFileSync(
      join(fixture.confDir, '05-routed.conflist'),
      JSON.stringify({ cniVersion: '1.0.0', name: 'routed', plugins: [plugin] }),
    );
    await engine.gc(new Set());
    const { ips } = await engine.attach(routed.request);
    const link =
      /^\d+: (\S+?)(@\S+)?:.*$/mu.exec(shell('ip -o link show type veth'))?.[1] ??
      assert.fail('the link does not exist');
    for (const group of ['ff02::1', 'ff02::2', 'ff02::fb', '224.0.0.251']) report(group, link);
    await pause(1500);
    assert.deepEqual(await ingress(), []);
    for (const { address } of ips) report(plain(address), link);
    await eventually(
      () => /counter packets [1-9]/u.exec(tried('nft list set inet portcullis denied_to') ?? '') ?? undefined,
      5_000,
    );
    assert.deepEqual(await ingress(), ['routed ingress network.none']);
  });
}
