import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { after, test } from 'node:test';
import { ipBytes, parseIp } from '../../base/addresses/index.ts';
import { NETLINK_NETFILTER } from '../../base/kernel/index.ts';
import { listConnections, openNetlink } from '../../base/netlink/index.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { createFollowedPolicies } from '../database/followed-policies.ts';
import { eventually, inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture, portmapConf } from './plugin-engine.fixture.ts';

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

  test('a host port of UDP ends connections to this host only: others may have peers at its number', async () => {
    const filter = openNetlink(NETLINK_NETFILTER);
    after(() => filter.close());
    shell('ip link add far0 type veth peer name far1; ip link set far0 up; ip link set far1 up');
    shell('ip addr add 192.0.2.1/24 dev far0; ip addr add 2001:db8::1/64 dev far0 nodad');
    const [own, others] = [
      ['192.0.2.1', '2001:db8::1'],
      ['192.0.2.9', '2001:db8::9'],
    ] as const;
    /** Returns the ids of the connections to these addresses. */
    const idsOf = (addresses: readonly string[]): string[] => {
      const wanted = addresses.map((text) => Buffer.from(ipBytes(parseIp(text) ?? assert.fail(text))));
      return [...listConnections(filter, 2, { portTo: 9 }), ...listConnections(filter, 10, { portTo: 9 })]
        .filter(({ to }) => wanted.some((address) => address.equals(to)))
        .map(({ key }) => Buffer.concat(key).toString('hex'));
    };
    const sockets = [own, others].flat().map((address) => {
      const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
      after(() => socket.close());
      // Nobody listens at the port.
      socket.on('error', () => undefined);
      return { socket, address };
    });
    const sendToAll = async (): Promise<void> => {
      await eventually(() => {
        for (const { socket, address } of sockets) socket.send('x', 9, address);
        return (idsOf(own).length === 2 && idsOf(others).length === 2) || undefined;
      });
    };
    const chain = [
      bridgeConf({}),
      portmapConf(
        { protocol: 'udp', hostPort: 9, containerPort: 9 },
        { protocol: 'udp', hostPort: 10, containerPort: 9 },
      ),
    ];
    const pod = { id: 'ported', netns: fixture.pin('ported') };
    await sendToAll();
    const before = idsOf(others);
    await fixture.add(chain, pod);
    assert.deepEqual([idsOf(own), idsOf(others)], [[], before], 'ADD');
    await sendToAll();
    await fixture.del(chain, pod);
    assert.deepEqual([idsOf(own), idsOf(others)], [[], before], 'DEL');
  });
}
