import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { Conf, Of } from './plugin-engine.fixture.ts';

/** Pods that share a VXLAN, and a configuration that changes between them. */

if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());
  shell('ip link add u0 type veth peer name u1; ip address add 10.9.0.1/24 dev u0; ip link set u0 up');
  const ranges = (subnet: string): object => ({ type: 'portcullis-ipam', ranges: [[{ subnet }]] });
  const chain = (more: Record<string, unknown>, bridge = 'ov0'): readonly Conf[] => [
    bridgeConf({ bridge, ipam: ranges(bridge === 'ov0' ? '10.77.0.0/24' : '10.78.0.0/24') }),
    { type: 'portcullis-vxlan', vni: 42, master: 'u0', local: '10.9.0.1', ...more },
  ];
  const pod = (id: string, network = 'net'): Of => ({ id, netns: fixture.pin(id), network });
  const remotes = (): string[] =>
    [...shell('bridge fdb show dev vxlan42').matchAll(/^00:00:00:00:00:00 dst (\S+)/gmu)].map(
      ([, address = '']) => address,
    );
  const status = (confs: readonly Conf[]): Promise<unknown> =>
    fixture.call('status', confs[0] ?? assert.fail('it has plugins'), { id: '', netns: '', name: '' });

  test('a node that was removed from the configuration gets no frames after a repair for older pods', async () => {
    const [former, later] = [chain({ remotes: ['10.9.0.2', '10.9.0.3'] }), chain({ remotes: ['10.9.0.2'] })];
    const [one, two] = [pod('one'), pod('two')];
    const result = await fixture.add(former, one);
    await fixture.add(later, two);
    assert.deepEqual(remotes(), ['10.9.0.2']);
    await status(later);
    assert.deepEqual(remotes(), ['10.9.0.2']);
    await fixture.check(later, one, result);
    await fixture.del(later, two);
    await status(later);
    assert.deepEqual(remotes(), ['10.9.0.2'], 'without the newer pod');
    await fixture.del(later, one);
    assert.equal(tried('ip link show vxlan42'), undefined);
  });

  test('entries that left the configuration leave the VXLAN, and entries of other programs stay', async () => {
    const entries = (numbers: readonly number[]): object => ({
      remotes: ['10.9.0.2'],
      fdb: numbers.map((number) => ({ mac: `02:00:00:00:00:0${number}`, remote: '10.9.0.2' })),
      neighbours: numbers.map((number) => ({ mac: `02:00:00:00:00:0${number}`, ip: `10.77.0.20${number}` })),
    });
    const [former, later] = [chain({ ...entries([1, 2]) }), chain({ ...entries([2]) })];
    const [one, two] = [pod('five'), pod('six')];
    const result = await fixture.add(former, one);
    shell('bridge fdb add 02:00:00:00:00:09 dev vxlan42 dst 10.9.0.2 self permanent');
    await fixture.add(later, two);
    const forwarded = (): string[] =>
      [...shell('bridge fdb show dev vxlan42').matchAll(/^(02:00:00:00:00:0\d) dst/gmu)]
        .map(([, mac = '']) => mac)
        .toSorted();
    const neighbours = (): string[] =>
      [...shell('ip neigh show dev vxlan42').matchAll(/^(10\.77\.0\.20\d) /gmu)].map(([, ip = '']) => ip);
    assert.deepEqual(forwarded(), ['02:00:00:00:00:02', '02:00:00:00:00:09']);
    assert.deepEqual(neighbours(), ['10.77.0.202']);
    await fixture.del(later, two);
    await status(later);
    assert.deepEqual(neighbours(), ['10.77.0.202'], 'after a repair for the older pod');
    await fixture.check(later, one, result);
    await fixture.del(later, one);
  });

  test('a network cannot take the VXLAN from the bridge of another one', async () => {
    const [one, two] = [pod('three', 'first'), pod('four', 'second')];
    const [first, second] = [chain({ remotes: ['10.9.0.2'] }), chain({ remotes: ['10.9.0.2'] }, 'ov1')];
    const result = await fixture.add(first, one);
    await assert.rejects(fixture.add(second, two), { code: 'NETWORK_INTERFACE_TAKEN' });
    assert.match(shell('ip -o link show vxlan42'), / master ov0 /u);
    await fixture.del(second, two);
    await fixture.check(first, one, result);
    await fixture.del(first, one);
  });
}
