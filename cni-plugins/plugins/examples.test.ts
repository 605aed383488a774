import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { createPluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import type { Conf } from '../plugin-engine/plugin-engine.fixture.ts';

/** Every example of docs/cni-plugins.md: added, checked, deleted; and nothing is left. */
if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());
  shell(
    'sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link add uplink type veth peer name far; ip addr add 192.0.2.1/24 dev uplink; ip link set uplink up; ip link set far up; ip route add default via 192.0.2.9; ip link add dev0 type veth peer name far0',
  );
  const document = readFileSync(new URL('../../docs/cni-plugins.md', import.meta.url), 'utf8');
  const examples = [...document.matchAll(/```json\n([^]*?)```/gu)].map(
    ([, text = '{}']) => JSON.parse(text) as { name: string; plugins: Conf[] },
  );
  // Its server is missing here: the tests of the plugin engine have one.
  const runnable = examples.filter(({ name }) => name !== 'by-dhcp');
  // Bridges stay: they belong to the network. So do their addresses, and the kernel's entries for them.
  const state = (): string =>
    shell('ip -o link; ip -o addr; ip route; ip -6 route; tc qdisc')
      .split('\n')
      .filter((line) => !/\bbr\d\b/u.test(line))
      .map((line) =>
        line
          .replace(/^\d+: /u, '')
          .replaceAll(/state \w+|LOWER_UP,?|NO-CARRIER,?|qdisc \w+|link-netnsid \d+/gu, ''),
      )
      .toSorted()
      .join('\n');

  test('each plugin has an example', () => assert.equal(examples.length, 16));
  for (const [index, { name, plugins }] of runnable.entries())
    test(`the example ${name} works`, async (context) => {
      const before = state();
      const of = { id: `pod${index}`, netns: fixture.pin(`pod${index}`), network: name };
      try {
        const result = await fixture.add(plugins, of);
        assert.equal(result.interfaces.filter(({ sandbox }) => sandbox === of.netns).at(-1)?.name, 'eth0');
        await fixture.check(plugins, of, result);
        // A repair does not undo what a later plugin changed on purpose. The kernel adds the route of an IPv6
        // address only after it has checked the address for duplicates.
        const pod = (): string | undefined =>
          fixture.inside(of.netns, "sh -c 'ip -o addr; ip link; ip rule; ip route show table all'");
        for (const deadline = Date.now() + 60_000; pod()?.includes(' tentative') === true;) {
          assert.ok(Date.now() < deadline, 'the kernel still checks an address');
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        const exists = pod();
        for (const plugin of plugins) await fixture.call('status', plugin, of);
        assert.equal(pod(), exists);
        await fixture.del(plugins, of);
      } catch (thrown) {
        if (!isPortcullisError(thrown) || thrown.code !== 'NETWORK_LINK_TYPE_MISSING') throw thrown;
        // Earlier plugins of the chain may have created their part.
        await fixture.del(plugins, of);
        context.skip(thrown.message);
      }
      // A link is taken from the host at once; the kernel ends it a moment later.
      for (const deadline = Date.now() + 60_000; state() !== before && Date.now() < deadline;)
        await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(state(), before);
    });
}
