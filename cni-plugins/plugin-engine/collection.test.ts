import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { Of } from './plugin-engine.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());
  const chain = [bridgeConf()];
  const other = [bridgeConf({ bridge: 'br1', ipam: { type: 'host-local', subnet: '10.91.0.0/24' } })];
  const podOf = (id: string, network = 'net'): Of => ({ id, netns: fixture.pin(id), network });
  const hasLink = ({ netns }: Of): boolean => fixture.inside(netns, 'ip link show eth0') !== undefined;

  test('calls of other networks run while GC removes many attachments; calls of its own wait', async () => {
    const leftovers = Array.from({ length: 15 }, (_, index) => podOf(`leftover-${index}`));
    for (const leftover of leftovers) await fixture.add(chain, leftover);
    const [kept, elsewhere, later] = [podOf('kept'), podOf('elsewhere', 'other'), podOf('later')];
    await fixture.add(chain, kept);
    const ended: string[] = [];
    const end = async (name: string, call: Promise<unknown>): Promise<void> => {
      await call;
      ended.push(name);
    };
    const valid = [{ containerId: 'kept', interface: 'eth0' }];
    await Promise.all([
      end('gc', fixture.call('gc', bridgeConf(), { id: '', netns: '', name: '' }, { valid })),
      end('same network', fixture.add(chain, later)),
      end('other network', fixture.add(other, elsewhere)),
    ]);
    assert.deepEqual(ended, ['other network', 'gc', 'same network']);
    assert.deepEqual([kept, elsewhere, later].map(hasLink), [true, true, true]);
    assert.ok(leftovers.every((leftover) => !hasLink(leftover)));
  });
}
