import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { keepTap } from '../../../base/kernel/index.ts';
import { inPrivateNetns, tried } from '../../engine/engine.fixture.ts';
import { codeOf, json, openPods, shell, stateOf, withoutNew } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

type TapConfig = { readonly type: 'tap' } & Readonly<Record<string, unknown>>;

if (inPrivateNetns(import.meta.filename)) {
  const pods = openPods();
  after(() => pods.end());
  const skip =
    tried('ip tuntap add probe mode tap && ip link del probe') === undefined
      ? 'the kernel has no TAP devices'
      : false;
  const ipam = (last: number): object => ({
    type: 'static',
    addresses: [
      { address: `10.20.0.${last}/24`, gateway: '10.20.0.1' },
      { address: `fd20::${last}/64`, gateway: 'fd20::1' },
    ],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  });
  /**
   * Without `pi` and `vnet_hdr`: the program that opens the device chooses the format of its frames. Without
   * the operational state: the kernel notices up to a second later that no program has opened the device.
   */
  const link = (pod: TestPod): unknown =>
    json(pod.run('ip -j -d link show dev eth0')).map(({ mtu, linkinfo, flags, master }) => {
      const { info_kind: kind, info_data: data } = linkinfo as Record<string, Record<string, unknown>>;
      const { pi: _pi, vnet_hdr: _header, numqueues: _some, numdisabled: _others, ...access } = data ?? {};
      const set = (flags as readonly string[]).filter((flag) => flag !== 'NO-CARRIER');
      return { mtu, flags: set, master, kind, access };
    });
  const addressed = (pod: TestPod): unknown => stateOf(pod, []);

  for (const [index, [label, own, bridge]] of (
    [
      ['without addresses', {}, false],
      ['with an owner', { owner: 1000 }, false],
      ['with an owner and a group', { owner: 1000, group: 1001 }, false],
      [
        'with several queues, an MTU and a MAC address',
        { multiQueue: true, mtu: 1400, mac: '02:00:00:00:0a:0a' },
        false,
      ],
      ['on a bridge of the pod', { bridge: 'br7' }, true],
    ] as const
  ).entries())
    test(`as upstream's plugin: ${label}`, { skip: skip || withoutNew('tap') }, async () => {
      const [ours, theirs] = [pods.pod(`a${index}`), pods.pod(`b${index}`)];
      const config: TapConfig = { type: 'tap', ...own };
      if (bridge) for (const pod of [ours, theirs]) pod.run('ip link add br7 type bridge');
      const result = await ours.add(config);
      const expected = theirs.upstream('ADD', config);
      assert.deepEqual(link(ours), link(theirs));
      assert.deepEqual(
        result.interfaces.map(({ name, sandbox }) => [name, sandbox]),
        [['eth0', ours.netns]],
      );
      assert.equal(expected?.interfaces.length, 1);
      assert.equal(result.interfaces[0]?.mac, json(ours.run('ip -j link show dev eth0'))[0]?.['address']);
      assert.deepEqual(await ours.check(config), []);
      ours.upstream('CHECK', config, { prevResult: result });
      await ours.del(config);
      theirs.upstream('DEL', config);
      assert.doesNotMatch(ours.run('ip -o link'), /eth0/u);
    });

  test("as upstream's plugin: with addresses and routes", { skip: skip || withoutNew('tap') }, async () => {
    const [ours, theirs] = [pods.pod('c'), pods.pod('d')];
    const result = await ours.add({ type: 'tap', ipam: ipam(2) });
    const expected = theirs.upstream('ADD', { type: 'tap', ipam: ipam(3) });
    assert.deepEqual([link(ours), addressed(ours)], [link(theirs), addressed(theirs)]);
    assert.deepEqual([result.routes, result.dns], [expected?.routes, expected?.dns]);
    ours.upstream('CHECK', { type: 'tap', ipam: ipam(2) }, { prevResult: result });
  });

  test('a MAC address of the caller takes precedence over the configuration', { skip }, async () => {
    const pod = pods.pod('mac');
    const config = { type: 'tap', mac: '02:00:00:00:0a:01', runtimeConfig: { mac: '02:00:00:00:0a:03' } };
    const { interfaces } = await pod.add(config, { args: { MAC: '02:00:00:00:0a:02' } });
    assert.equal(interfaces[0]?.mac, '02:00:00:00:0a:03');
    assert.equal(json(pod.run('ip -j link show dev eth0'))[0]?.['address'], '02:00:00:00:0a:03');
  });

  test('a difference is reported and repaired; an ended pod leaves nothing', { skip }, async () => {
    const pod = pods.pod('e');
    pod.run('ip link add br8 type bridge');
    const config = { type: 'tap', owner: 1000, mtu: 1400, bridge: 'br8', ipam: ipam(4) };
    await pod.add(config);
    for (const spoil of [
      'ip link set eth0 down',
      'ip link set eth0 address 02:00:00:00:0f:0f',
      'ip link set eth0 mtu 1300',
      'ip link set eth0 nomaster',
      'ip addr del 10.20.0.4/24 dev eth0',
      'ip link del eth0',
      "sh -c 'ip link del eth0; ip tuntap add eth0 mode tap'",
    ]) {
      pod.run(spoil);
      assert.notDeepEqual(await pod.check(config), [], spoil);
      await pod.repair(config);
      assert.deepEqual(await pod.check(config), [], spoil);
    }
    pod.die();
    await pod.delDead(config);
  });

  test('links of other kinds are neither used nor removed', { skip }, async () => {
    const pod = pods.pod('f');
    pod.run('ip link add eth0 type ifb');
    assert.equal(await codeOf(() => pod.add({ type: 'tap' })), 'NETWORK_INTERFACE_TAKEN');
    await pod.del({ type: 'tap' });
    assert.match(pod.run('ip -o link'), /eth0/u);
    pod.run('ip link del eth0');
    assert.equal(
      await codeOf(() => pod.add({ type: 'tap', bridge: 'nowhere' })),
      'NETWORK_INTERFACE_MISSING',
    );
    assert.equal(await codeOf(() => pod.add({ type: 'tap', bridge: 'lo' })), 'NETWORK_BRIDGE_UNUSABLE');
    assert.doesNotMatch(pod.run('ip -o link'), /eth0/u);
  });

  test('a device that is not finished is gone', { skip }, () => {
    const unfinished = (): void =>
      keepTap('tap7', { multiQueue: false }, () => {
        assert.match(shell('ip -o link show tap7'), /tap7/u);
        throw new Error('interrupted');
      });
    assert.throws(unfinished, /interrupted/u);
    assert.doesNotMatch(shell('ip -o link'), /tap7/u);
    for (const name of ['', 'tap%d', 'longer-than-any-link'])
      assert.throws(() => keepTap(name, { multiQueue: false }, () => undefined), { code: 'KERNEL_EINVAL' });
  });
}
