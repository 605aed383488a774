import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import type { CniResult } from '../../spec/result.ts';
import { codeOf, openPods, shell } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const run = promisify(execFile);
  const pods = openPods();
  after(() => pods.end());
  shell('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1');
  // Where the kernel's bridge filter is loaded, it passes bridged packets to IP's chains: upstream's
  // isolation depends on it.
  spawnSync('sysctl', ['-qw', 'net.bridge.bridge-nf-call-iptables=0']);

  interface Wired {
    readonly pod: TestPod;
    readonly prevResult: CniResult;
    readonly address: string;
  }
  /** Returns a pod on a bridge with a gateway of its own network, IPv4 and IPv6. */
  const onBridge = (name: string, bridge: string, network: number, last: number): Wired => {
    const pod = pods.pod(name);
    shell(
      `ip link show ${bridge} >/dev/null 2>&1 || { ip link add ${bridge} type bridge; ip addr add 10.${network}.0.1/24 dev ${bridge}; ip addr add fd${network}::1/64 dev ${bridge} nodad; ip link set ${bridge} up; }`,
    );
    shell(
      `ip link add host${name} type veth peer name eth0 netns ${pod.netns}; ip link set host${name} master ${bridge} up`,
    );
    const address = `10.${network}.0.${last}`;
    for (const command of [
      `ip addr add ${address}/24 dev eth0`,
      `ip addr add fd${network}::${last}/64 dev eth0 nodad`,
      'ip link set eth0 up',
      `ip route add default via 10.${network}.0.1`,
      `ip -6 route add default via fd${network}::1`,
    ])
      pod.run(command);
    return {
      pod,
      address,
      prevResult: {
        interfaces: [{ name: bridge }, { name: `host${name}` }, { name: 'eth0', sandbox: pod.netns }],
        ips: [
          { address: `${address}/24`, interface: 2 },
          { address: `fd${network}::${last}/64`, interface: 2 },
        ],
        routes: [],
        dns: {},
      },
    };
  };
  /** First removes the failed neighbour entries. */
  const reaches = async ({ pod }: Wired, address: string): Promise<boolean> => {
    const command = `nsenter --net=${pod.netns} sh -c 'ip neigh flush all; exec timeout 1 busybox ping -c3 -i0.2 -W1 ${address}'`;
    return run('sh', ['-c', command]).then(
      () => true,
      () => false,
    );
  };
  const open = { type: 'firewall' };

  test("bridges are separated as with Debian's plugin, for IPv4 and IPv6; the policy open separates nothing", async () => {
    const [a1, b1, c1] = [
      onBridge('a1', 'br1', 41, 2),
      onBridge('b1', 'br2', 42, 2),
      onBridge('c1', 'br3', 43, 2),
    ];
    const separate = { type: 'firewall', ingressPolicy: 'same-bridge' };
    const matrix = (): Promise<boolean[]> =>
      Promise.all([
        reaches(a1, b1.address),
        reaches(b1, a1.address),
        reaches(a1, c1.address),
        reaches(a1, 'fd42::2'),
        reaches(c1, 'fd41::2'),
        reaches(a1, '10.41.0.1'),
      ]);
    assert.deepEqual(await matrix(), [true, true, true, true, true, true]);
    await a1.pod.add(separate, a1);
    await b1.pod.add(separate, b1);
    await c1.pod.add(open, c1);
    const ours = await matrix();
    for (const wired of [a1, b1]) assert.deepEqual(await wired.pod.check(separate), []);
    for (const wired of [a1, b1]) await wired.pod.del(separate);
    await c1.pod.del(open);
    assert.deepEqual(await matrix(), [true, true, true, true, true, true]);
    for (const [wired, config] of [
      [a1, separate],
      [b1, separate],
      [c1, open],
    ] as const)
      wired.pod.debian('ADD', { ...config, backend: 'iptables' }, wired);
    assert.deepEqual(ours, await matrix());
    assert.deepEqual(ours, [false, false, true, false, true, true]);
    shell('nft flush ruleset');
  });

  test("with the policy isolated, pods of one bridge do not reach each other either, without the kernel's bridge filter", async () => {
    const [one, two, three] = [
      onBridge('d1', 'br4', 44, 2),
      onBridge('d2', 'br4', 44, 3),
      onBridge('d3', 'br4', 44, 4),
    ];
    const isolated = { type: 'firewall', ingressPolicy: 'isolated' };
    await one.pod.add(isolated, one);
    await two.pod.add(isolated, two);
    assert.deepEqual(
      await Promise.all([
        reaches(one, two.address),
        reaches(two, 'fd44::2'),
        reaches(one, '10.44.0.1'),
        reaches(one, three.address),
      ]),
      [false, false, true, true],
    );
    assert.deepEqual(await one.pod.check(isolated), []);
    await one.pod.del(isolated);
    assert.ok(await reaches(one, two.address), 'a single pod needs no isolation');
    assert.match(shell('nft list ruleset'), /br4/u);
    for (const name of ['d1', 'd3']) shell(`ip link del host${name}`);
    two.pod.die();
    shell('ip link del hostd2 2>/dev/null || true');
    await two.pod.delDead(isolated);
    assert.doesNotMatch(shell('nft list ruleset'), /br4|hostd|10\.44/u);
  });

  test("the administrator's chain is evaluated first, and its rules are kept", async () => {
    const [a, b] = [onBridge('e1', 'br5', 45, 2), onBridge('e2', 'br6', 46, 2)];
    const config = { type: 'firewall', iptablesAdminChainName: 'MY-RULES' };
    await a.pod.add(config, a);
    shell('nft add rule inet portcullis_firewall MY-RULES ip saddr 10.45.0.2 drop');
    assert.ok(!(await reaches(a, b.address)));
    assert.ok(await reaches(a, '10.45.0.1'), 'traffic to the host is not forwarded');
    await b.pod.add(config, b);
    assert.ok(!(await reaches(a, b.address)), 'another pod keeps the rules');
    shell('nft flush chain inet portcullis_firewall MY-RULES');
    assert.ok(await reaches(a, b.address));
    for (const wired of [a, b]) await wired.pod.del(config);
  });

  test('a bridge of prevResult with an impossible name is refused, and nothing is left to remove', async () => {
    const { pod, prevResult } = onBridge('name', 'brname', 61, 2);
    const [, ...others] = prevResult.interfaces;
    for (const name of ['', 'x'.repeat(16), 'x'.repeat(5000), 'é'.repeat(8), 'a/b', 'a\0b', '..']) {
      const wrong = { prevResult: { ...prevResult, interfaces: [{ name }, ...others] } };
      assert.equal(
        await codeOf(() => pod.add({ type: 'firewall', ingressPolicy: 'isolated' }, wrong)),
        'NETWORK_BRIDGE_MISSING',
        name,
      );
    }
    shell('ip link del brname');
  });

  test('the stricter policy of a bridge stays', async () => {
    const [strict, open2] = [onBridge('h1', 'br9', 49, 2), onBridge('h2', 'br9', 49, 3)];
    const isolated = { type: 'firewall', ingressPolicy: 'isolated' };
    const same = { type: 'firewall', ingressPolicy: 'same-bridge' };
    await strict.pod.add(isolated, strict);
    await open2.pod.add(same, open2);
    assert.match(shell('nft list map inet portcullis_firewall pairs'), /"br9" \. "br9" : drop/u);
    await strict.pod.del(isolated);
    await open2.pod.del(same);
  });

  test('a difference is reported and repaired', async () => {
    const wired = onBridge('f1', 'br7', 47, 2);
    const config = { type: 'firewall', ingressPolicy: 'isolated' };
    await wired.pod.add(config, wired);
    for (const spoil of [
      'nft flush map inet portcullis_firewall from4',
      'nft flush set bridge portcullis_firewall isolated_ports',
      'nft delete table inet portcullis_firewall',
      'nft flush ruleset',
    ]) {
      shell(spoil);
      assert.match((await wired.pod.check(config)).join('; '), /nf_tables has no/u, spoil);
      await wired.pod.repair(config);
      assert.deepEqual(await wired.pod.check(config), [], spoil);
    }
    await wired.pod.del(config);
  });

  test('a third-party chain that drops by default is reported, unless the administrator declares it handled', async () => {
    const wired = onBridge('g1', 'br8', 48, 2);
    shell("nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; } ; }'");
    try {
      const failure = await wired.pod.add(open, wired).then(() => undefined, String);
      assert.match(failure ?? '', /ip filter FORWARD.*NETWORK_FIREWALL_DROPPED_BY_OTHERS/u);
      await wired.pod.add({ ...open, backend: 'nftables' }, wired);
      await wired.pod.del(open);
    } finally {
      shell('nft flush ruleset');
    }
    assert.equal(
      await codeOf(() =>
        wired.pod.add(
          { type: 'firewall', ingressPolicy: 'isolated' },
          {
            prevResult: {
              interfaces: [{ name: 'eth0', sandbox: wired.pod.netns }],
              ips: [],
              routes: [],
              dns: {},
            },
          },
        ),
      ),
      'NETWORK_BRIDGE_MISSING',
    );
  });
}
