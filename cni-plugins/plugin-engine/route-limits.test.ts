import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { inPrivateNetns } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { PluginFixture } from './plugin-engine.fixture.ts';

/** Routes that the kernel stores in another form, or refuses. */
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

  test('sbr moves a route that names the main table, and CHECK of the whole chain passes', async () => {
    const addresses = [{ address: '10.92.0.9/24', gateway: '10.92.0.1' }];
    const routes = [{ dst: '10.5.0.0/16', gw: '10.92.0.1', table: 254 }];
    const chain = [
      bridgeConf({ ipam: { type: 'static', addresses, routes } }),
      { type: 'portcullis-sbr' },
    ] as const;
    const pod = { id: 'main', netns: fixture.pin('main') };
    const result = await fixture.add(chain, pod);
    assert.deepEqual(result.routes[0], routes[0]);
    assert.match(fixture.inside(pod.netns, 'ip route show table 100') ?? '', /10\.5\.0\.0\/16/u);
    await fixture.check(chain, pod, result);
    await fixture.del(chain, pod);
  });

  for (const [dst, gw, words] of [
    [
      '10.6.0.0/16',
      '10.99.0.1',
      /add the route 10\.6\.0\.0\/16 by 10\.99\.0\.1 .* ENETUNREACH.*give the route/u,
    ],
    [
      'fd00:6::/64',
      'fd00:99::1',
      /add the route fd00:6::\/64 by fd00:99::1 .* EHOSTUNREACH.*give the route/u,
    ],
  ] as const)
    test(`the error names the route whose gateway ${gw} cannot be reached, and what to do`, async () => {
      const ranges = [[{ subnet: '10.92.0.0/24' }], [{ subnet: 'fd00:92::/64' }]];
      const conf = bridgeConf({ ipam: { type: 'host-local', ranges, routes: [{ dst, gw }] } });
      const pod = { id: gw, netns: fixture.pin(gw.replaceAll(':', '-')) };
      await assert.rejects(fixture.add([conf], pod), words);
      await fixture.del([conf], pod);
    });
}
