import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, tried } from '../../engine/engine.fixture.ts';
import type { CniResult } from '../../spec/result.ts';
import { codeOf, openPods, shell, stateOf } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

if (inPrivateNetns(import.meta.filename, 600_000)) {
  const pods = openPods();
  after(() => pods.end());
  shell('ip link add m0 mtu 1450 type veth peer name m1; ip link set m0 up; ip link set m1 up');
  // The kernel of many build machines does not have it: test/vm/run provides one that does.
  const skip =
    tried('ip link add link m0 name probe type ipvlan mode l2 && ip link del probe') === undefined
      ? 'the kernel has no ipvlan'
      : false;
  const ipam = (last: number): object => ({
    type: 'static',
    addresses: [{ address: `10.20.0.${last}/24`, gateway: '10.20.0.1' }],
    routes: [{ dst: '0.0.0.0/0' }],
  });
  const state = (pod: TestPod): unknown => stateOf(pod, ['mtu', 'operstate', 'linkinfo', 'flags', 'address']);

  // All ipvlans of a master have the same mode: each pair of pods is gone before the next.
  for (const mode of ['l2', 'l3', 'l3s'] as const)
    test(`as Debian's plugin: ${mode}`, { skip }, async () => {
      const [ours, theirs] = [pods.pod(`a${mode}`), pods.pod(`b${mode}`)];
      const config = { type: 'ipvlan', master: 'm0', mode, mtu: 1400 };
      const result = await ours.add({ ...config, ipam: ipam(2) });
      const expected = theirs.debian('ADD', { ...config, ipam: ipam(3) });
      assert.deepEqual(state(ours), state(theirs));
      assert.equal(result.interfaces[0]?.mac, expected?.interfaces[0]?.mac);
      assert.deepEqual(result.routes, expected?.routes);
      assert.deepEqual(await ours.check(config), []);
      await ours.del(config);
      theirs.debian('DEL', { ...config, ipam: ipam(3) });
    });

  test('a link of another kind on the same master is refused', { skip }, async () => {
    const [first, second] = [pods.pod('first'), pods.pod('second')];
    const config = { type: 'ipvlan', master: 'm0' };
    await first.add({ ...config, ipam: ipam(2) });
    assert.equal(
      await codeOf(() => second.add({ ...config, type: 'macvlan', ipam: ipam(3) })),
      'NETWORK_MASTER_IN_USE',
    );
    await first.del(config);
  });

  test('after another plugin it uses the master and the addresses of that plugin', { skip }, async () => {
    const pod = pods.pod('c');
    const prevResult: CniResult = {
      interfaces: [{ name: 'm0' }],
      ips: [{ address: '10.20.0.9/24', gateway: '10.20.0.1' }],
      routes: [{ dst: '0.0.0.0/0' }],
      dns: {},
    };
    const result = await pod.add({ type: 'ipvlan' }, { prevResult });
    assert.deepEqual(result.ips, [{ address: '10.20.0.9/24', gateway: '10.20.0.1', interface: 0 }]);
    assert.match(pod.run('ip route'), /default via 10\.20\.0\.1/u);
    const two = { ...prevResult, interfaces: [{ name: 'm0' }, { name: 'm1' }] };
    assert.equal(
      await codeOf(() => pod.add({ type: 'ipvlan' }, { prevResult: two, interface: 'net1' })),
      'NETWORK_CONFIG_INVALID',
    );
    pod.die();
    await pod.delDead({ type: 'ipvlan' });
  });
}
