import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import { createPluginFixture } from './plugin-engine.fixture.ts';
import type { Conf, PluginFixture } from './plugin-engine.fixture.ts';

/** The kernel has one mode for all ipvlan links on a master. */
if (inPrivateNetns(import.meta.filename)) {
  let fixture: PluginFixture;
  before(() => {
    fixture = createPluginFixture();
  });
  after(() => fixture.end());
  shell('ip link add m0 type veth peer name m1; ip link set m0 up; ip link set m1 up');
  // The kernel of many build machines does not have it: test/vm/run provides one that does.
  const skip =
    tried('ip link add link m0 name probe type ipvlan mode l2 && ip link del probe') === undefined
      ? 'the kernel has no ipvlan'
      : false;
  const conf = (mode: string): Conf => ({
    type: 'portcullis-ipvlan',
    master: 'm0',
    mode,
    ipam: { type: 'host-local', subnet: '10.98.0.0/24' },
  });

  test('a mode that would change the link of another pod is refused', { skip }, async () => {
    const [first, second] = ['first', 'second'].map((id) => ({ id, netns: fixture.pin(id) }));
    assert.ok(first !== undefined && second !== undefined);
    const result = await fixture.add([conf('l2')], first);
    await assert.rejects(fixture.add([conf('l3')], second), { code: 'NETWORK_MASTER_IN_USE' });
    await fixture.check([conf('l2')], first, result);
    await fixture.add([conf('l2')], second);
    await fixture.del([conf('l2')], second);
    await fixture.del([conf('l2')], first);
    await fixture.add([conf('l3')], second);
    await fixture.del([conf('l3')], second);
  });
}
