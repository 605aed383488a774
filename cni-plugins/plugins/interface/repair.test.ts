import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../../engine/engine.fixture.ts';
import { openPods, shell } from '../pod.fixture.ts';

/** When other programs change a pod's interface, CHECK reports it, and repair restores it. */
if (inPrivateNetns(import.meta.filename)) {
  const pods = openPods();
  after(() => pods.end());
  shell('ip link add m0 type veth peer name m1; ip link set m0 up; ip link set m1 up');

  test('the MAC address and the MTU of a link on a master are repaired', async () => {
    const pod = pods.pod('child');
    const config = { type: 'macvlan', master: 'm0', mtu: 1400, mac: '02:00:00:00:00:07' };
    await pod.add(config);
    pod.run('ip link set eth0 mtu 1300 address 02:00:00:00:00:08');
    assert.deepEqual(await pod.check(config), [
      'eth0 has the MAC address 02:00:00:00:00:08, not 02:00:00:00:00:07',
      'eth0 has the MTU 1300, not 1400',
    ]);
    await pod.repair(config);
    assert.deepEqual(await pod.check(config), []);
    await pod.del(config);
  });

  test('the default route of a second network is found where the kernel merged it with that of the first', async () => {
    const pod = pods.pod('two');
    const config = {
      type: 'ptp',
      ipam: {
        ...{ type: 'static', addresses: [{ address: 'fd31::2/64', gateway: 'fd31::1' }] },
        routes: [{ dst: '::/0', gw: 'fd31::1' }],
      },
    };
    await pod.add(config);
    for (const command of [
      'link add other type veth peer name end',
      'address add fd32::2/64 dev other nodad',
      'link set other up',
      'link set end up',
      '-6 route append default via fd32::1 dev other',
    ])
      pod.run(`ip ${command}`);
    assert.match(pod.run('ip -6 route show default'), /nexthop/u);
    assert.deepEqual(await pod.check(config), []);
    await pod.del(config);
  });

  test('routes that the kernel left without their source after the address was removed are repaired', async () => {
    const pod = pods.pod('source');
    const config = {
      type: 'ptp',
      ipam: { type: 'static', addresses: [{ address: 'fd21::2/64', gateway: 'fd21::1' }] },
    };
    await pod.add(config);
    pod.run('ip address del fd21::2/64 dev eth0');
    assert.match(
      (await pod.check(config)).join('; '),
      /no address fd21::2\/64; eth0 has no route to fd21::1\/128/u,
    );
    await pod.repair(config);
    assert.deepEqual(await pod.check(config), []);
    assert.equal(pod.run('ip -6 route show fd21::1').match(/fd21::1 dev/gu)?.length, 1);
    await pod.del(config);
  });
}
