import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, tried } from '../../engine/engine.fixture.ts';
import { codeOf, json, openPods, stateOf, withoutNew } from '../pod.fixture.ts';
import type { TestPod } from '../pod.fixture.ts';

if (inPrivateNetns(import.meta.filename, 600_000)) {
  const pods = openPods();
  after(() => pods.end());
  // The kernel of many build machines does not have it: test/vm/run provides one that does.
  const lacking = tried('ip link add probe type dummy && ip link del probe') === undefined;
  const skip = lacking ? 'the kernel has no dummy links' : false;
  const config = (last: number): { type: 'dummy' } & Record<string, unknown> => ({
    type: 'dummy',
    ipam: {
      type: 'static',
      addresses: [
        { address: `10.20.0.${last}/24`, gateway: '10.20.0.1' },
        { address: `fd20::${last}/64`, gateway: 'fd20::1' },
      ],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '192.0.2.0/24', gw: '10.20.0.9' }, { dst: '::/0' }],
    },
  });
  const state = (pod: TestPod): unknown => stateOf(pod, ['mtu', 'operstate', 'linkinfo', 'flags']);

  test("as upstream's plugin", { skip: skip || withoutNew('dummy') }, async () => {
    const [ours, theirs] = [pods.pod('a'), pods.pod('b')];
    const result = await ours.add(config(2));
    const expected = theirs.upstream('ADD', config(3));
    assert.deepEqual(state(ours), state(theirs));
    assert.deepEqual(
      [result.interfaces.map(({ name, sandbox }) => [name, sandbox]), result.routes, result.ips.length],
      [[['eth0', ours.netns]], expected?.routes, expected?.ips.length],
    );
    assert.equal(result.interfaces[0]?.mac, json(ours.run('ip -j link show dev eth0'))[0]?.['address']);
    theirs.upstream('CHECK', config(3), expected === undefined ? {} : { prevResult: expected });
    ours.upstream('CHECK', config(2), { prevResult: result });
    assert.deepEqual(await ours.check(config(2)), []);
    await ours.del(config(2));
    theirs.upstream('DEL', config(3));
    assert.doesNotMatch(ours.run('ip -o link'), /eth0/u);
  });

  test('a difference is reported and repaired; an ended pod leaves nothing', { skip }, async () => {
    const pod = pods.pod('c');
    await pod.add(config(4));
    for (const spoil of [
      'ip link set eth0 down',
      'ip link set eth0 address 02:00:00:00:0f:0f',
      'ip addr del 10.20.0.4/24 dev eth0',
      'ip link del eth0',
    ]) {
      pod.run(spoil);
      assert.notDeepEqual(await pod.check(config(4)), [], spoil);
      await pod.repair(config(4));
      assert.deepEqual(await pod.check(config(4)), [], spoil);
    }
    pod.die();
    await pod.delDead(config(4));
  });

  test(
    'a kernel without such links is reported',
    { skip: lacking ? false : 'the kernel has them' },
    async () => {
      assert.equal(await codeOf(() => pods.pod('d').add(config(5))), 'NETWORK_LINK_TYPE_MISSING');
    },
  );

  test('without addresses, or with the name of another link, nothing is created', async () => {
    const pod = pods.pod('e');
    assert.equal(await codeOf(() => pod.add({ type: 'dummy' })), 'NETWORK_ADDRESSES_MISSING');
    pod.run('ip link add eth0 type ifb');
    assert.equal(await codeOf(() => pod.add(config(6))), 'NETWORK_INTERFACE_TAKEN');
    await pod.del(config(6));
    assert.match(pod.run('ip -o link'), /eth0/u);
  });
}
