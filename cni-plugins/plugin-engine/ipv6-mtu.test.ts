import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { conflist, createFixture, inPrivateNetns, tried } from '../engine/engine.fixture.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { Conf } from './plugin-engine.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());

  const tooSmall = (thrown: unknown): boolean =>
    isPortcullisError(thrown) &&
    thrown.code === 'NETWORK_MTU_TOO_SMALL' &&
    /fd00:\S+ to the interface eth0: its MTU is 1279, and IPv6 needs 1280/u.test(thrown.message);
  const ranges = (...subnets: string[]): object => ({
    type: 'portcullis-ipam',
    ranges: subnets.map((subnet) => [{ subnet }]),
  });

  for (const [name, chain] of [
    ['bridge', [bridgeConf({ mtu: 1279 })]],
    ['ptp', [{ type: 'portcullis-ptp', mtu: 1279, ipam: ranges('10.92.0.0/24', 'fd00:92::/64') }]],
    // The kernel would remove the address that the bridge has set.
    ['tuning', [bridgeConf(), { type: 'portcullis-tuning', mtu: 1279 }]],
  ] satisfies [string, Conf[]][])
    test(`an MTU that IPv6 cannot have is refused: ${name}`, async () => {
      const pod = { id: name, netns: fixture.pin(name) };
      await assert.rejects(fixture.add(chain, pod), tooSmall);
      await fixture.del(chain, pod);
    });

  test('the smallest MTU of IPv6 is accepted, and a smaller one without IPv6', async () => {
    for (const [id, chain] of [
      ['least', [bridgeConf(), { type: 'portcullis-tuning', mtu: 1280 }]],
      ['ipv4', [{ type: 'portcullis-ptp', mtu: 68, ipam: ranges('10.93.0.0/24') }]],
    ] satisfies [string, Conf[]][]) {
      const pod = { id, netns: fixture.pin(id) };
      await fixture.check(chain, pod, await fixture.add(chain, pod));
      await fixture.del(chain, pod);
    }
  });

  test('an MTU that IPv6 cannot have is refused for a pod of our runtime, and leaves nothing', async () => {
    const own = createFixture(conflist({ mtu: 1279 }));
    const engine = await own.engine();
    await assert.rejects(engine.attach(own.pod('own').request), tooSmall);
    assert.equal(tried('ip link show cni0'), undefined);
    await engine.close({ removeAll: true });
    own.end();
  });
}
