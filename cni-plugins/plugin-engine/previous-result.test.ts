import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../engine/engine.fixture.ts';
import type { CniInterface, CniResult } from '../spec/result.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());

  const mac = '02:aa:aa:aa:aa:aa';
  const isOfPod = ({ sandbox }: CniInterface): boolean => sandbox !== undefined;
  const changed = (
    result: CniResult,
    which: (each: CniInterface) => boolean,
    change: Partial<CniInterface>,
  ): CniResult => ({
    ...result,
    interfaces: result.interfaces.map((each) => (which(each) ? { ...each, ...change } : each)),
  });

  test('CHECK reports a MAC address, link or address of prevResult that does not exist', async () => {
    const pod = { id: 'believed', netns: fixture.pin('believed') };
    const chain = [bridgeConf()];
    const result = await fixture.add(chain, pod);
    await fixture.check(chain, pod, result);
    await fixture.check(chain, pod, changed(result, isOfPod, { mac: '' }));
    const upper = result.interfaces.find(isOfPod)?.mac?.toUpperCase() ?? '';
    await fixture.check(chain, pod, changed(result, isOfPod, { mac: upper }));
    const at = result.interfaces.findIndex(isOfPod);
    for (const [prevResult, expected] of [
      [changed(result, isOfPod, { mac }), /prevResult has the MAC address 02:aa:\S+ for eth0, which has/u],
      [changed(result, (each) => !isOfPod(each), { mac }), /02:aa:\S+ for br0, which has/u],
      [changed(result, ({ name }) => name === 'br0', { name: 'br7' }), /has no interface br0 of the host/u],
      [
        { ...result, ips: [...result.ips, { address: '10.99.9.9/24', interface: at }] },
        /prevResult has the address 10\.99\.9\.9\/24, but eth0 does not/u,
      ],
    ] as const)
      await assert.rejects(fixture.check(chain, pod, prevResult), expected);
    await fixture.del(chain, pod);
  });

  test('CHECK expects the MAC address that a later plugin of the chain has set', async () => {
    const pod = { id: 'tuned', netns: fixture.pin('tuned') };
    const chain = [bridgeConf(), { type: 'portcullis-tuning', mac }];
    const result = await fixture.add(chain, pod);
    await fixture.check(chain, pod, result);
    await assert.rejects(
      fixture.check(chain, pod, changed(result, isOfPod, { mac: '02:bb:bb:bb:bb:bb' })),
      /02:bb:\S+ for eth0, which has 02:aa/u,
    );
    await fixture.del(chain, pod);
  });

  test('CHECK expects the address that a later plugin has added', async () => {
    const pod = { id: 'more', netns: fixture.pin('more') };
    const chain = [bridgeConf()];
    const result = await fixture.add(chain, pod);
    fixture.inside(pod.netns, 'ip addr add 10.99.9.9/24 dev eth0');
    const at = result.interfaces.findIndex(isOfPod);
    const more = { ...result, ips: [...result.ips, { address: '10.99.9.9/24', interface: at }] };
    await fixture.check(chain, pod, more);
    await fixture.del(chain, pod);
  });
}
