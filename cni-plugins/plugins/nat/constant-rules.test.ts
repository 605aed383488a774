import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture, portmapConf } from '../../plugin-engine/plugin-engine.fixture.ts';
import type { Conf, Of } from '../../plugin-engine/plugin-engine.fixture.ts';
import type { CniResult } from '../../spec/result.ts';

/**
 * Another program removes rules that all pods share while the pods' elements remain: CHECK reports it, and
 * the rules are recreated without losing an element.
 */
if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());

  const pod = async (
    name: string,
    hostPort: number,
  ): Promise<{ chain: readonly Conf[]; of: Of; result: CniResult }> => {
    const chain = [
      bridgeConf({ macspoofchk: true }),
      portmapConf({ hostPort, containerPort: 80, protocol: 'tcp' }),
      { type: 'portcullis-firewall', ingressPolicy: 'isolated' },
    ];
    const of = { id: name, netns: fixture.pin(name) };
    return { chain, of, result: await fixture.add(chain, of) };
  };

  test('rules that others remove from our tables are reported and restored', async () => {
    const pods = [await pod('a', 8080), await pod('b', 8081)];
    const elements = (): string[] =>
      shell('nft -s list ruleset').match(/pc[0-9a-f]{12}|10\.90\.0\.\d+|fd00:90::\d+/gu) ?? [];
    const before = elements();
    const whole = shell('nft -s list ruleset');
    for (const spoil of [
      'flush chain ip portcullis_plugins postrouting',
      'flush chain ip portcullis_plugins host_ports_of',
      'flush chain ip portcullis_plugins prerouting',
      'flush chain ip portcullis_plugins loopback',
      'flush chain ip6 portcullis_plugins postrouting',
      'delete chain ip6 portcullis_plugins output',
      'flush chain ip portcullis_plugins leaving_0a5a0000_24',
      'flush chain inet portcullis_firewall forward',
      'flush chain inet portcullis_firewall accepted',
      'flush chain inet portcullis_firewall to_CNI-ADMIN',
      'flush chain bridge portcullis_firewall forward',
      'flush chain bridge portcullis_plugins prerouting',
    ]) {
      shell(`nft ${spoil}`);
      const [, , family, table, chain] = spoil.split(' ');
      for (const { chain: confs, of, result } of pods)
        await assert.rejects(
          fixture.check(confs, of, result),
          new RegExp(`nf_tables lacks rules of ${chain} in the table ${family} ${table}`, 'u'),
          spoil,
        );
      const [first = assert.fail('there are two')] = pods;
      await fixture.call('status', first.chain[0] ?? assert.fail('it has plugins'), first.of);
      for (const { chain: confs, of, result } of pods) await fixture.check(confs, of, result);
      assert.deepEqual(elements().toSorted(), before.toSorted(), spoil);
    }
    const sorted = (text: string): string[] => text.split('\n').toSorted();
    assert.deepEqual(sorted(shell('nft -s list ruleset')), sorted(whole));
  });

  test('a link through which the host’s loopback no longer reaches the pod is reported and restored; each difference is reported once', async () => {
    const { chain, of, result } = await pod('d', 8083);
    shell('sysctl -qw net.ipv4.conf.br0.route_localnet=0');
    await assert.rejects(fixture.check(chain, of, result), /conf\/br0\/route_localnet is off/u);
    const [first = assert.fail('it has plugins')] = chain;
    await fixture.call('status', first, of);
    await fixture.check(chain, of, result);
    fixture.inside(of.netns, 'ip link set eth0 down');
    await assert.rejects(fixture.check(chain, of, result), /: eth0 is down; eth0 has no route/u);
    await fixture.call('status', first, of);
  });

  test('the administrator’s own rules stay, and the next pod creates missing rules again', async () => {
    shell('nft add rule inet portcullis_firewall CNI-ADMIN ip saddr 10.90.0.77 drop');
    shell(
      'nft flush chain inet portcullis_firewall accepted; nft flush chain ip portcullis_plugins postrouting',
    );
    const next = await pod('c', 8082);
    await fixture.call('status', next.chain[0] ?? assert.fail('it has plugins'), next.of);
    await fixture.check(next.chain, next.of, next.result);
    assert.match(shell('nft list chain inet portcullis_firewall CNI-ADMIN'), /10\.90\.0\.77 drop/u);
  });
}
