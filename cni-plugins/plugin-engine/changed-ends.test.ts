import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import type { CniResult } from '../spec/result.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';

/** Changes in pods by third-party plugins at the end of a chain, and by the pods themselves. */
if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());
  const ipam = {
    type: 'portcullis-ipam',
    ranges: [[{ subnet: '10.95.0.0/24' }], [{ subnet: 'fd00:95::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  };
  const mac = '02:11:22:33:44:55';
  const chains = [
    bridgeConf(),
    { type: 'portcullis-ptp', ipam },
    { type: 'portcullis-macvlan', master: 'm0', ipam },
  ];
  shell('ip link add m0 type veth peer name m1; ip link set m0 up; ip link set m1 up');
  shell('ip route add default dev m0');

  for (const conf of chains)
    test(`STATUS keeps what was changed in a pod behind ${conf.type}, and restores a lost interface`, async () => {
      const pod = { id: conf.type, netns: fixture.pin(conf.type) };
      const result = await fixture.add([conf], pod);
      const inside = (command: string): string => fixture.inside(pod.netns, command) ?? assert.fail(command);
      const status = (): Promise<unknown> => fixture.call('status', conf, { ...pod, id: '', netns: '' });
      const state = (): string => inside('sh -c "ip -o link show eth0; ip route; ip -6 route"');
      // As upstream plugins do: `tuning` sets these, and `sbr` moves routes.
      inside(`ip link set eth0 address ${mac} mtu 1400`);
      inside('ip route del default');
      inside('ip -6 route del default');
      const changed = state();
      await status();
      assert.equal(state(), changed);
      assert.match(changed, new RegExp(`mtu 1400 .*${mac}`, 'u'));

      const tuned: CniResult = {
        ...result,
        interfaces: result.interfaces.map((each) =>
          each.sandbox === undefined ? each : { ...each, mac: mac.toUpperCase() },
        ),
      };
      const found = await fixture.check([conf], pod, tuned).then(
        () => '',
        (thrown: unknown) => String((thrown as Error).message),
      );
      assert.match(found, /eth0 has no route to 0\.0\.0\.0\/0/u);
      assert.doesNotMatch(found, /has the (?:MAC address|MTU)/u);
      await assert.rejects(fixture.check([conf], pod, result), /has the MAC address/u);

      inside('ip link set eth0 down');
      await status();
      assert.match(state(), /default via \S+ dev eth0/u);
      inside('ip link del eth0');
      await status();
      await fixture.check([conf], pod, result);
      await fixture.del([conf], pod);
    });

  test('the routes of a lost interface are restored after duplicate address detection', async () => {
    const conf = bridgeConf({ bridge: 'br1', enabledad: true });
    const pod = { id: 'detecting', netns: fixture.pin('detecting') };
    const result = await fixture.add([conf], pod);
    const status = (): Promise<unknown> => fixture.call('status', conf, { ...pod, id: '', netns: '' });
    const inside = (command: string): string => fixture.inside(pod.netns, command) ?? assert.fail(command);
    inside('ip link del eth0');
    await status();
    assert.equal(inside('ip route show default'), '', 'detection is under way');
    while (inside('ip -6 addr show dev eth0').includes('tentative')) await pause(100);
    await status();
    await fixture.check([conf], pod, result);
    await fixture.del([conf], pod);
  });

  test('an MTU that is too small for the IPv6 addresses of a pod is not kept', async () => {
    const conf = bridgeConf({ bridge: 'br2' });
    const pod = { id: 'small', netns: fixture.pin('small') };
    const result = await fixture.add([conf], pod);
    fixture.inside(pod.netns, 'ip link set eth0 mtu 1000');
    await fixture.call('status', conf, { ...pod, id: '', netns: '' });
    await fixture.check([conf], pod, result);
    await fixture.del([conf], pod);
  });
}
