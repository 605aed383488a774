import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { ipBytes, parseIp } from '../../base/addresses/index.ts';
import { NETLINK_NETFILTER } from '../../base/kernel/index.ts';
import { listConnections, openNetlink } from '../../base/netlink/index.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { createFollowedPolicies } from '../database/followed-policies.ts';
import { eventually, inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';

if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());

  test('connections of a container end with it, for the next one may get its address', async () => {
    const filter = openNetlink(NETLINK_NETFILTER);
    after(() => filter.close());
    // Connections are tracked as soon as a rule asks for their state.
    shell('nft add table inet t; nft "add chain inet t c { type filter hook input priority 0; }"');
    shell('nft add rule inet t c ct state new accept');
    const isTracked = (address: string): boolean => {
      const parsed = parseIp(address);
      const wanted = Buffer.from(parsed === undefined ? [] : ipBytes(parsed));
      const all = [...listConnections(filter, 2), ...listConnections(filter, 10)];
      return all.some(({ from }) => from.equals(wanted));
    };
    // Only rules make a difference between a new connection and an answer.
    const database = openNetworkDatabase(fixture.databasePath);
    createFollowedPolicies(database).set(true);
    database.close();
    const chain = [bridgeConf({})];
    const pods = ['former', 'other'].map((id) => ({ id, netns: fixture.pin(id) }));
    const addresses: string[][] = [];
    for (const of of pods)
      addresses.push((await fixture.add(chain, of)).ips.map(({ address }) => address.split('/')[0] ?? ''));
    for (const [index, { netns }] of pods.entries())
      for (const address of addresses[index] ?? []) {
        const [family, target] = address.includes(':')
          ? ['AF_INET6', 'fd00:90::1']
          : ['AF_INET', '10.90.0.1'];
        const script = `import socket; socket.socket(socket.${family}, socket.SOCK_DGRAM).sendto(b"x", ("${target}", 9))`;
        // An IPv6 address works a moment after it exists.
        await eventually(() => {
          fixture.inside(netns, `python3 -c '${script}'`);
          return isTracked(address) || undefined;
        });
      }
    const [former] = pods;
    await fixture.del(chain, former ?? assert.fail('there are two'));
    assert.deepEqual(addresses.flat().map(isTracked), [false, false, true, true]);
  });
}
