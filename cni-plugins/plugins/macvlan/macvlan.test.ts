import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { codeOf, json, openPods, shell, stateOf } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const pods = openPods();
  after(() => pods.end());
  shell(
    'ip link add m0 mtu 1450 type veth peer name m1; ip link set m0 up; ip link set m1 up; ip link add eth0 type ifb',
  );

  const ipam = (last: number): object => ({
    type: 'static',
    addresses: [
      { address: `10.20.0.${last}/24`, gateway: '10.20.0.1' },
      { address: `fd20::${last}/64`, gateway: 'fd20::1' },
    ],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '10.30.0.0/16', gw: '10.20.0.9' }, { dst: '::/0' }],
  });
  /** Returns the kernel's state, without values that differ between two pods of one master. */
  const state = (pod: TestPod): unknown => [
    stateOf(pod, ['mtu', 'operstate', 'linkinfo', 'flags']),
    pod.run('sysctl -n net.ipv4.conf.eth0.arp_notify net.ipv6.conf.eth0.disable_ipv6'),
  ];

  for (const mode of ['bridge', 'private', 'vepa'] as const)
    test(`as Debian's plugin: ${mode}`, async () => {
      const [ours, theirs] = [pods.pod(`a${mode}`), pods.pod(`b${mode}`)];
      const config = { type: 'macvlan', master: 'm0', mode, mtu: 1400 };
      // Upstream waits two seconds for its IPv6 addresses: once is enough.
      const addressed = (last: number): object => (mode === 'bridge' ? { ipam: ipam(last) } : { ipam: {} });
      const result = await ours.add({ ...config, ...addressed(2) });
      const expected = theirs.debian('ADD', { ...config, ...addressed(3) });
      assert.deepEqual(state(ours), state(theirs));
      const reported = (given: typeof result | undefined): unknown => ({
        ...given,
        interfaces: given?.interfaces.map(({ name }) => name),
        ips: given?.ips.map((ip) => ip.interface),
      });
      assert.deepEqual(reported(result), reported(expected));
      assert.deepEqual(result.interfaces[0]?.mac, json(ours.run('ip -j link show dev eth0'))[0]?.['address']);
      assert.deepEqual(await ours.check(config), []);
      await ours.del(config);
      assert.doesNotMatch(ours.run('ip -o link'), /eth0|pc[0-9a-f]{6}/u);
      theirs.debian('DEL', { ...config, ...addressed(3) });
    });

  test('without a master it uses the link of the default route, in the host or in the pod', async () => {
    shell('ip addr add 10.20.0.100/24 dev m0; ip route add default via 10.20.0.1 dev m0');
    const pod = pods.pod('default');
    await pod.add({ type: 'macvlan', mac: '02:00:00:00:00:09' });
    assert.match(pod.run('ip -o -d link show dev eth0'), /02:00:00:00:00:09.*macvlan mode bridge/u);
    const inside = { type: 'macvlan', linkInContainer: true };
    assert.equal(await codeOf(() => pod.add(inside, { interface: 'net1' })), 'NETWORK_MASTER_MISSING');
    pod.run('ip addr add 10.40.0.2/24 dev eth0');
    pod.run('ip route add default via 10.40.0.1 dev eth0');
    // A macvlan of a macvlan uses the same link below.
    const result = await pod.add(inside, { interface: 'net1' });
    assert.equal(result.interfaces[0]?.name, 'net1');
    await pod.del(inside, { interface: 'net1' });
    await pod.del({ type: 'macvlan' });
    shell('ip route del default');
    assert.equal(await codeOf(() => pod.add({ type: 'macvlan' })), 'NETWORK_MASTER_MISSING');
  });

  test('passthru uses the address of its master', async () => {
    shell('ip link add p0 type veth peer name p1; ip link set p0 up');
    const pod = pods.pod('passthru');
    const config = { type: 'macvlan', master: 'p0', mode: 'passthru' };
    const result = await pod.add(config);
    assert.equal(result.interfaces[0]?.mac, json(shell('ip -j link show dev p0'))[0]?.['address']);
    assert.deepEqual(await pod.check(config), []);
    pod.die();
    await pod.delDead(config);
  });

  test('a master is refused while a link of the mode passthru has it', async () => {
    shell('ip link add q0 type veth peer name q1; ip link set q0 up');
    const [first, second] = [pods.pod('alone'), pods.pod('further')];
    const config = { type: 'macvlan', master: 'q0', mode: 'passthru' };
    await first.add(config);
    for (const mode of ['passthru', 'bridge'])
      assert.equal(await codeOf(() => second.add({ ...config, mode })), 'NETWORK_MASTER_IN_USE');
    await first.del(config);
    await second.add(config);
    await second.del(config);
    shell('ip link del q0');
  });

  test('a difference is reported and repaired', async () => {
    const pod = pods.pod('drift');
    const config = { type: 'macvlan', master: 'm0', ipam: ipam(4) };
    await pod.add(config);
    for (const [spoil, words] of [
      ['ip link set eth0 down', /eth0 is down/u],
      ['ip addr del 10.20.0.4/24 dev eth0', /has no address 10\.20\.0\.4/u],
      ['ip -6 addr del fd20::4/64 dev eth0', /has no address fd20::4/u],
      ['ip route del 10.30.0.0/16', /no route to 10\.30/u],
      ['ip route del default', /no route to 0\.0\.0\.0/u],
      ['ip link set eth0 type macvlan mode vepa', /mode vepa, not bridge/u],
      ['ip link set eth0 address 02:00:00:00:00:77', /MAC address 02:00:00:00:00:77/u],
      ['ip link del eth0', /no interface eth0/u],
    ] as const) {
      pod.run(spoil);
      assert.match((await pod.check(config)).join('; '), words);
      await pod.repair(config);
      assert.deepEqual(await pod.check(config), [], spoil);
    }
  });

  test('impossible settings are refused, and nothing is left', async () => {
    const pod = pods.pod('refused');
    const before = shell('ip -o link');
    for (const [config, code] of [
      [{ type: 'macvlan', master: 'nowhere' }, 'NETWORK_MASTER_MISSING'],
      [{ type: 'macvlan', master: 'm0', mtu: 9000 }, 'NETWORK_MTU_TOO_LARGE'],
      [{ type: 'macvlan', master: 'lo', mtu: 1000 }, 'NETWORK_MASTER_UNUSABLE'],
      [{ type: 'vlan', master: 'lo', vlanId: 5, ipam: ipam(9) }, 'NETWORK_MASTER_UNUSABLE'],
    ] as const) {
      assert.equal(await codeOf(() => pod.add(config)), code);
      await pod.del(config);
    }
    for (const kind of ['ifb', 'macvlan']) {
      const other = pods.pod(`has-${kind}`);
      if (kind === 'ifb') other.run('ip link add eth0 type ifb');
      else shell(`ip link add link m0 name eth0 netns ${other.netns} type macvlan`);
      const made = other.run('ip -o link show dev eth0');
      assert.equal(
        await codeOf(() => other.add({ type: 'macvlan', master: 'm0' })),
        'NETWORK_INTERFACE_TAKEN',
        kind,
      );
      await other.del({ type: 'macvlan' });
      assert.equal(other.run('ip -o link show dev eth0'), made, 'the third-party link stays');
    }
    assert.equal(shell('ip -o link'), before);
  });

  for (const [type, config] of [
    ['vlan', { type: 'vlan', master: 'm0', vlanId: 7, ipam: ipam(8) }],
    ['ipvlan', { type: 'ipvlan', master: 'm0', ipam: ipam(8) }],
  ] as const)
    test(`a kernel without ${type} is reported by name`, async (context) => {
      const pod = pods.pod(type);
      const code = await codeOf(() => pod.add(config));
      if (code === 'no failure') context.skip('this kernel has it: see test/vm/links');
      else assert.equal(code, 'NETWORK_LINK_TYPE_MISSING');
      await pod.del(config);
    });
}
