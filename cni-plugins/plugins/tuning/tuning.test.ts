import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import type { CniResult } from '../../spec/result.ts';
import { codeOf, json, openPods, shell } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';
import { sysctlNameOf } from './sysctl-path.ts';

if (inPrivateNetns(import.meta.filename)) {
  const pods = openPods();
  after(() => pods.end());
  // A folder of the test's own replaces the machine's allow list.
  shell('mkdir -p /etc/cni && mount -t tmpfs tmpfs /etc/cni');

  const wired = (name: string): { pod: TestPod; prevResult: CniResult } => {
    const pod = pods.pod(name);
    shell(`ip link add h${name} type veth peer name eth0 address 02:00:00:00:00:01 netns ${pod.netns}`);
    return {
      pod,
      prevResult: {
        interfaces: [{ name: `h${name}` }, { name: 'eth0', sandbox: pod.netns }],
        ips: [],
        routes: [],
        dns: {},
      },
    };
  };
  const link = (pod: TestPod): unknown =>
    json(pod.run('ip -j -d link show dev eth0')).map(
      ({ address, mtu, txqlen, promiscuity, allmulti, flags }) => ({
        address,
        mtu,
        txqlen,
        promiscuity,
        allmulti,
        flags,
      }),
    );
  const sysctl = (pod: TestPod, name: string): string => pod.run(`sysctl -n ${name}`).trim();

  const all = {
    type: 'tuning',
    sysctl: {
      'net.ipv4.conf.IFNAME.arp_filter': '1',
      'net.core.somaxconn': '500',
      'net.ipv4.ip_local_port_range': '2000 3000',
      'net/ipv4/tcp_syncookies': '0',
    },
    mac: '02:00:00:00:00:02',
    mtu: 1300,
    promisc: true,
    allmulti: true,
    txQLen: 77,
  };

  test("it changes what Debian's plugin changes, and returns the link", async () => {
    const [ours, theirs] = [wired('a'), wired('b')];
    const before = link(ours.pod);
    // Debian's is too old for txQLen.
    const { txQLen: _newer, ...shared } = all;
    const result = await ours.pod.add(shared, ours);
    const expected = theirs.pod.debian('ADD', { ...shared, dataDir: '/etc/cni/tuning-data' }, theirs);
    const names = [
      'net.ipv4.conf.eth0.arp_filter',
      'net.core.somaxconn',
      'net.ipv4.ip_local_port_range',
      'net.ipv4.tcp_syncookies',
    ];
    assert.deepEqual(link(ours.pod), link(theirs.pod));
    for (const name of names) assert.equal(sysctl(ours.pod, name), sysctl(theirs.pod, name), name);
    assert.equal(sysctl(ours.pod, 'net.core.somaxconn'), '500');
    assert.equal(result.interfaces[1]?.mac, expected?.interfaces[1]?.mac);
    assert.equal(result.interfaces[1]?.mtu, 1300);
    assert.deepEqual(await ours.pod.check(shared), []);
    await ours.pod.del(shared);
    theirs.pod.debian('DEL', { ...shared, dataDir: '/etc/cni/tuning-data' }, theirs);
    assert.deepEqual(link(ours.pod), before);
    assert.deepEqual(link(ours.pod), link(theirs.pod));
  });

  test('the sources have the same precedence as in upstream', async () => {
    const { pod, prevResult } = wired('order');
    const config = { type: 'tuning', mac: '02:00:00:00:00:02', mtu: 1300 };
    for (const [more, args, mac] of [
      [{}, {}, '02:00:00:00:00:02'],
      [{}, { MAC: '02:00:00:00:00:03' }, '02:00:00:00:00:03'],
      [{ runtimeConfig: { mac: '02:00:00:00:00:04' } }, { MAC: '02:00:00:00:00:03' }, '02:00:00:00:00:04'],
      [
        {
          runtimeConfig: { mac: '02:00:00:00:00:04' },
          args: { cni: { mac: '02:00:00:00:00:05', mtu: 1290 } },
        },
        {},
        '02:00:00:00:00:05',
      ],
    ] as const) {
      const result = await pod.add({ ...config, ...more }, { prevResult, args });
      assert.equal(result.interfaces[1]?.mac, mac);
      await pod.del(config);
    }
  });

  test('args of the configuration have precedence over its fields, also if false', async () => {
    const { pod, prevResult } = wired('quiet');
    const config = { type: 'tuning', promisc: true, allmulti: true };
    for (const [cni, flags] of [
      [{ promisc: false, allmulti: false }, /^(?!.*(?:PROMISC|ALLMULTI))/u],
      [{ allmulti: false }, /^(?=.*PROMISC)(?!.*ALLMULTI)/u],
      [{}, /PROMISC.*ALLMULTI|ALLMULTI.*PROMISC/u],
    ] as const) {
      const given = { ...config, args: { cni } };
      await pod.add(given, { prevResult });
      assert.match(pod.run('ip -o link show dev eth0'), flags, JSON.stringify(cni));
      assert.deepEqual(await pod.check(given, { prevResult }), []);
      await pod.del(given, { prevResult });
    }
  });

  test('a difference is reported and repaired', async () => {
    const { pod, prevResult } = wired('drift');
    await pod.add(all, { prevResult });
    for (const [spoil, words] of [
      ['sysctl -qw net.core.somaxconn=7', /net\/core\/somaxconn is 7, not 500/u],
      ['ip link set eth0 address 02:00:00:00:00:0f', /has the MAC address/u],
      ['ip link set eth0 mtu 1000', /has the MTU 1000, not 1300/u],
      ['ip link set eth0 promisc off', /has promiscuous mode false, not true/u],
      ['ip link set eth0 allmulticast off', /has all-multicast mode/u],
      ['ip link set eth0 txqueuelen 5', /has the transmit queue length 5, not 77/u],
    ] as const) {
      pod.run(spoil);
      assert.match((await pod.check(all)).join('; '), words);
      await pod.repair(all);
      assert.deepEqual(await pod.check(all), [], spoil);
    }
    pod.die();
    await pod.delDead(all);
  });

  test('an allow list applies, and nothing is set before it was checked', async () => {
    const { pod, prevResult } = wired('list');
    shell(
      'mkdir -p /etc/cni && mount -t tmpfs list /etc/cni && mkdir /etc/cni/tuning && printf "^net\\\\.core\\\\.somaxconn$\\n\\n^net.ipv4.conf.IFNAME.[a-z_]*$\\n" > /etc/cni/tuning/allowlist.conf',
    );
    try {
      const before = sysctl(pod, 'net.core.somaxconn');
      const config = { type: 'tuning', sysctl: { 'net.core.somaxconn': '600', 'net.ipv4.ip_forward': '1' } };
      assert.equal(await codeOf(() => pod.add(config, { prevResult })), 'NETWORK_SYSCTL_REFUSED');
      assert.equal(sysctl(pod, 'net.core.somaxconn'), before);
      await pod.add(
        { type: 'tuning', sysctl: { 'net/core/somaxconn': '600', 'net.ipv4.conf.IFNAME.arp_filter': '1' } },
        { prevResult },
      );
      assert.equal(sysctl(pod, 'net.core.somaxconn'), '600');
      for (const broken of ['echo "(" > allowlist.conf', 'rm allowlist.conf && mkdir allowlist.conf']) {
        shell(`cd /etc/cni/tuning && ${broken}`);
        assert.equal(await codeOf(() => pod.add(config, { prevResult })), 'NETWORK_SYSCTL_REFUSED', broken);
      }
    } finally {
      shell('umount /etc/cni');
    }
  });

  test('a missing sysctl, a value that the kernel refuses and a pod without the interface are reported', async () => {
    const { pod, prevResult } = wired('wrong');
    assert.equal(
      await codeOf(() => pod.add({ type: 'tuning', sysctl: { 'net.ipv4.no_such': '1' } }, { prevResult })),
      'NETWORK_SYSCTL_REFUSED',
    );
    assert.equal(
      await codeOf(() =>
        pod.add({ type: 'tuning', sysctl: { 'net.core.somaxconn': 'many' } }, { prevResult }),
      ),
      'NETWORK_SYSCTL_REFUSED',
    );
    assert.equal(
      await codeOf(() => pod.add({ type: 'tuning' }, { prevResult, interface: 'net7' })),
      'NETWORK_INTERFACE_MISSING',
    );
    for (const spelling of ['net.core.somaxconn', 'net/core/somaxconn'])
      assert.equal(sysctlNameOf(spelling, 'eth0')?.path, 'net/core/somaxconn');
    const twice = { type: 'tuning', sysctl: { 'net.core.somaxconn': '1', 'net/core/somaxconn': '2' } };
    assert.equal(await codeOf(() => pod.add(twice, { prevResult })), 'NETWORK_SYSCTL_REFUSED');
  });
}

test('the name of a sysctl is a single path below net', () => {
  for (const [given, path] of [
    ['net.ipv4.conf.IFNAME.arp_filter', 'net/ipv4/conf/eth0.5/arp_filter'],
    ['net/ipv4/conf/IFNAME/arp_filter', 'net/ipv4/conf/eth0.5/arp_filter'],
    ['net/ipv4/conf/eth0.5/arp_filter', 'net/ipv4/conf/eth0.5/arp_filter'],
    ['net.ipv4.conf.eth0/5.arp_filter', 'net/ipv4/conf/eth0.5/arp_filter'],
  ] as const)
    assert.equal(sysctlNameOf(given, 'eth0.5')?.path, path);
  for (const bad of [
    '',
    'net',
    'net.',
    'net.ipv4',
    'kernel.shmmax',
    '/net/ipv4/x',
    'net/../kernel/x',
    'net.ipv4....kernel.x',
    'net/ipv4/./x',
    'net/ipv4/../../kernel/x',
    'net.ipv4.\0.x',
    'net.ipv4.a b',
    'net..core.x',
    'net/ipv4/conf//x',
    'net.ipv4.//.//.kernel.x',
  ])
    assert.equal(sysctlNameOf(bad, 'eth0'), undefined, bad);
  assert.equal(sysctlNameOf('net.ipv4.conf.IFNAME.x', '..'), undefined);
});
