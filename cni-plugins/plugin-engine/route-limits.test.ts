import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { inPrivateNetns } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { PluginFixture } from './plugin-engine.fixture.ts';

/** Values of routes for which the kernel stores its own limit. */
if (inPrivateNetns(import.meta.filename)) {
  let fixture: PluginFixture;
  before(() => {
    fixture = createPluginFixture();
  });
  after(() => fixture.end());

  test('a route with a larger MTU or MSS than the kernel stores passes CHECK', async () => {
    const large = { mtu: 70_000, advmss: 0xffffffff };
    const conf = bridgeConf({
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.92.0.0/24' }], [{ subnet: 'fd00:92::/64' }]],
        routes: [
          { dst: '10.5.0.0/16', gw: '10.92.0.1', ...large },
          { dst: 'fd00:5::/64', gw: 'fd00:92::1', ...large },
        ],
      },
    });
    const pod = { id: 'one', netns: fixture.pin('one') };
    const result = await fixture.add([conf], pod);
    assert.match(fixture.inside(pod.netns, 'ip route show 10.5.0.0/16') ?? '', /mtu 65520 advmss 65495/u);
    await fixture.check([conf], pod, result);
    fixture.inside(pod.netns, 'ip route replace 10.5.0.0/16 via 10.92.0.1 dev eth0 mtu 65519 advmss 65495');
    await assert.rejects(fixture.check([conf], pod, result), { code: 'NETWORK_DIFFERS' });
    await fixture.del([conf], pod);
  });
}
