import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, tried } from '../../engine/engine.fixture.ts';
import { codeOf, openPods, shell, stateOf } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

if (inPrivateNetns(import.meta.filename, 600_000)) {
  const pods = openPods();
  after(() => pods.end());
  shell('ip link add m0 mtu 1450 type veth peer name m1; ip link set m0 up; ip link set m1 up');
  // The kernel of many build machines does not have it: test/vm/run provides one that does.
  const skip =
    tried('ip link add link m0 name probe type vlan id 9 && ip link del probe') === undefined
      ? 'the kernel has no VLANs'
      : false;
  const ipam = (last: number): object => ({
    type: 'static',
    addresses: [
      { address: `10.20.0.${last}/24`, gateway: '10.20.0.1' },
      { address: `fd20::${last}/64`, gateway: 'fd20::1' },
    ],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  });
  const state = (pod: TestPod): string =>
    JSON.stringify(stateOf(pod, ['mtu', 'operstate', 'linkinfo', 'flags', 'address'])).replace(
      /"id":[67]/u,
      '"id":0',
    );

  test("as Debian's plugin", { skip }, async () => {
    const [ours, theirs] = [pods.pod('a'), pods.pod('b')];
    const config = (id: number, last: number): { type: 'vlan' } & Record<string, unknown> => ({
      type: 'vlan',
      master: 'm0',
      vlanId: id,
      mtu: 1400,
      ipam: ipam(last),
    });
    const result = await ours.add(config(6, 2));
    const expected = theirs.debian('ADD', config(7, 3));
    assert.deepEqual(state(ours), state(theirs));
    assert.equal(result.interfaces[0]?.mac, expected?.interfaces[0]?.mac);
    assert.deepEqual(
      [result.routes, result.interfaces[0]?.name],
      [expected?.routes, expected?.interfaces[0]?.name],
    );
    assert.deepEqual(await ours.check(config(6, 2)), []);
    await ours.del(config(6, 2));
    theirs.debian('DEL', config(7, 3));
    assert.doesNotMatch(ours.run('ip -o link'), /eth0|pc[0-9a-f]{6}/u);
  });

  test('a difference is reported and repaired; an ended pod leaves nothing', { skip }, async () => {
    const pod = pods.pod('c');
    const config = { type: 'vlan', master: 'm0', vlanId: 8, ipam: ipam(4) };
    await pod.add(config);
    for (const spoil of ['ip link set eth0 down', 'ip addr del 10.20.0.4/24 dev eth0', 'ip link del eth0']) {
      pod.run(spoil);
      assert.notDeepEqual(await pod.check(config), [], spoil);
      await pod.repair(config);
      assert.deepEqual(await pod.check(config), [], spoil);
    }
    // Two pods cannot have the same VLAN of one master.
    assert.equal(await codeOf(() => pods.pod('d').add(config)), 'NETWORK_MASTER_IN_USE');
    pod.die();
    await pod.delDead(config);
  });
}
