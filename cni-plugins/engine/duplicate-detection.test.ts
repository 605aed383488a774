import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { inPrivateNetns, shell } from './engine.fixture.ts';
import { bridgeConf, createPluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import type { Conf, Of, PluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';

// The kernel takes a second or more to establish that no neighbour has an IPv6 address (RFC 4862, section
// 5.4).
if (inPrivateNetns(import.meta.filename)) {
  let fixture: PluginFixture;
  before(() => {
    fixture = createPluginFixture();
  });
  after(() => fixture.end());

  const detecting = bridgeConf({ enabledad: true });
  const pod = (id: string): Of => ({ id, netns: fixture.pin(id) });
  /** STATUS belongs to no pod, and waits for none. */
  const nobody: Of = { id: '', netns: '' };
  const routes = (of: Of): string => fixture.inside(of.netns, 'ip -6 route show default') ?? '';

  test('while an ADD waits for the detection, other pods are added, checked and deleted', async () => {
    const slow = pod('slow');
    const order: string[] = [];
    const waiting = fixture.add([detecting], slow).then((result) => {
      order.push('slow');
      return result;
    });
    const plain = pod('plain');
    const result = await fixture.add([bridgeConf()], plain);
    await fixture.check([bridgeConf()], plain, result);
    await fixture.del([bridgeConf()], plain);
    order.push('plain');
    await waiting;
    assert.deepEqual(order, ['plain', 'slow']);
    assert.match(routes(slow), /default via fd00:90::1/u);
    await fixture.del([detecting], slow);
  });

  test('a STATUS in between neither repairs nor removes the waiting attachment', async () => {
    const slow = pod('asked');
    const waiting = fixture.add([detecting], slow);
    let ended = false;
    void waiting.then(() => (ended = true));
    await fixture.call('status', detecting, nobody);
    assert.equal(ended, false);
    assert.match(fixture.inside(slow.netns, 'ip -6 -o addr show dev eth0 tentative') ?? '', /fd00:90::/u);
    const result = await waiting;
    await fixture.check([detecting], slow, result);
    await fixture.del([detecting], slow);
  });

  test('a DEL of the same pod waits for its turn and leaves nothing', async () => {
    const slow = pod('deleted');
    const added = fixture.add([detecting], slow);
    const deleted = fixture.del([detecting], slow);
    await Promise.all([added, deleted]);
    assert.equal(fixture.inside(slow.netns, 'ip link show eth0'), undefined);
  });

  test('a pod whose namespace ends meanwhile is refused, and leaves nothing', async () => {
    const slow = pod('ended');
    const added = fixture.add([detecting], slow);
    const refused = assert.rejects(
      added,
      (thrown) => isPortcullisError(thrown) && thrown.code.startsWith('NETWORK_'),
    );
    await fixture.call('status', detecting, nobody);
    // As iproute2 and runtimes do: the engine may look into the namespace at this moment.
    shell(`umount --lazy ${slow.netns}`);
    await refused;
    assert.doesNotMatch(shell('ip -o link show type veth'), /pc[0-9a-f]{12}/u);
  });

  test('after an engine was killed meanwhile, the next engine completes the attachment', async () => {
    const slow = pod('killed');
    const conf: Conf = detecting;
    // A killed engine leaves the state before the routes are added. The test removes them by hand, because a
    // Worker cannot be killed at an exact moment.
    const result = await fixture.add([conf], slow);
    fixture.inside(slow.netns, 'ip -6 route del default');
    assert.equal(routes(slow), '');
    await fixture.call('status', conf, nobody);
    assert.match(routes(slow), /default via fd00:90::1/u);
    await fixture.check([conf], slow, result);
    await fixture.del([conf], slow);
  });
}
