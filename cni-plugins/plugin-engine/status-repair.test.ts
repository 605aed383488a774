import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { Of } from './plugin-engine.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());
  const chain = [bridgeConf()];

  test('other calls run while STATUS repairs many attachments, and what they remove stays removed', async () => {
    const pods = Array.from({ length: 60 }, (_, index): Of => {
      const id = `pod-${index}`;
      return { id, netns: fixture.pin(id) };
    });
    const [first, late] = [pods.shift(), { id: 'late', netns: fixture.pin('late') }];
    assert.ok(first !== undefined);
    for (const pod of [first, ...pods]) await fixture.add(chain, pod);
    for (const { netns } of pods)
      fixture.inside(netns, 'ip address del 10.90.0.0/16 dev eth0; ip link del eth0');
    const ended: string[] = [];
    const end = async (name: string, call: Promise<unknown>): Promise<void> => {
      await call;
      ended.push(name);
    };
    const last = pods.at(-1);
    assert.ok(last !== undefined);
    await Promise.all([
      end('status', fixture.call('status', bridgeConf(), { id: '', netns: '', name: '' })),
      end('add', fixture.add(chain, late)),
      end('del', fixture.del(chain, last)),
    ]);
    assert.deepEqual(ended, ['add', 'del', 'status']);
    const hasLink = ({ netns }: Of): boolean => fixture.inside(netns, 'ip link show eth0') !== undefined;
    assert.deepEqual(
      [first, ...pods, late].map(hasLink),
      [first, ...pods, late].map((pod) => pod !== last),
    );
    assert.equal(shell('ip -o link show master br0').trim().split('\n').length, 60);
  });
}
