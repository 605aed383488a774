import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { transact, openNetlink, concatenated, be16 } from '../../../base/netlink/index.ts';
import type { Element } from '../../../base/netlink/index.ts';
import type { VirtualServer } from '../model/model.ts';
import { adoptNoConnection, openSegmentHosts, segments } from '../invalid-segments.fixture.ts';
import { readDenied } from '../source-ranges/denied.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { openLedger } from './ledger.ts';
import { readBackends } from '../unknown-segments/backends.ts';
import { addTo, rebuild, tableFamilies, tableOf, takeFrom } from './tables.ts';

/**
 * Tests that any kernel with nf_tables accepts every rule of the table beside IPVS, and each change.
 * test/services tests the effect on packets.
 */
if (inPrivateNetns(import.meta.filename)) {
  const server = (family: 4 | 6, sourceRanges?: readonly string[]): VirtualServer => ({
    ...webServer,
    ...{
      kind: 'external',
      family,
      address: family === 4 ? '192.0.2.8' : '2001:db8::8',
      sourceAddress: 'masquerade',
      destinations: [],
    },
    ...(sourceRanges !== undefined && { sourceRanges }),
  });

  test('the kernel accepts every rule, source ranges change only elements, and nft lists all of them', () => {
    const netfilter = openNetlink(NETLINK_NETFILTER);
    const ledger = openLedger({ 4: Uint8Array.of(10, 1, 0, 1), 6: undefined });
    const change = (
      gone: readonly VirtualServer[],
      come: readonly VirtualServer[],
      own = ledger.own(),
    ): void => {
      const { replaced, add, take } = ledger.change(gone, come, own);
      transact(netfilter, [
        ...[...replaced].flatMap(([family, elements]) => takeFrom(family, elements)),
        ...[...add].flatMap(([family, elements]) => addTo(family, elements)),
        ...[...take].flatMap(([family, elements]) => takeFrom(family, elements)),
      ]);
    };
    const listed = (set: string): string[] =>
      tableFamilies.flatMap(
        (family) =>
          shell(`nft list set ${family} ${tableOf(family).name} ${set}`).match(/tcp \. 80[^,}\n]*/gu) ?? [],
      );
    const sources = (): string[] =>
      listed('source_ranges')
        .map((text) => text.replace('tcp . 80 . ', '').trim())
        .toSorted();
    try {
      transact(
        netfilter,
        tableFamilies.flatMap((family) => rebuild(family, ledger.elements(family))),
      );
      const first = [server(4, ['10.0.0.0/8']), server(6, ['2001:db8:1::/48'])];
      change([], first);
      assert.deepEqual(sources(), [
        '0x00000008 . 10.0.0.0',
        '0x00000020 . 192.0.2.8',
        '0x00000030 . 2001:db8:1::',
      ]);
      assert.equal(listed('denied').length, 2);
      const second = [server(4, ['198.51.100.0/24']), server(6, ['2001:db8:1::/48', 'fd00::/8'])];
      change(first, second);
      assert.deepEqual(sources(), [
        '0x00000008 . fd00::',
        '0x00000018 . 198.51.100.0',
        '0x00000030 . 2001:db8:1::',
      ]);
      change(second, second, { 4: Uint8Array.of(198, 51, 100, 1), 6: undefined });
      assert.equal(
        sources().includes('0x00000020 . 192.0.2.8'),
        true,
        'the host now has an address inside the range',
      );
      transact(
        netfilter,
        tableFamilies.flatMap((family) => rebuild(family, ledger.elements(family))),
      );
      assert.equal(sources().length, 4, 'also if the host has the address from the start');
      change(second, [server(4), server(6)]);
      assert.deepEqual([...sources(), ...listed('denied')], []);
      for (const family of tableFamilies)
        assert.match(shell(`nft list table ${family} ${tableOf(family).name}`), /jump sources/u);
    } finally {
      netfilter.close();
    }
  });

  test('the counter of a restricted server continues when the tables are rebuilt', async () => {
    const netfilter = openNetlink(NETLINK_NETFILTER);
    const ledger = openLedger({ 4: undefined, 6: undefined });
    const denied = (): readonly bigint[] =>
      tableFamilies.flatMap((family) => [...readDenied(netfilter, tableOf(family)).values()]);
    const build = (): void =>
      transact(
        netfilter,
        tableFamilies.flatMap((family) =>
          rebuild(family, ledger.elements(family), readDenied(netfilter, tableOf(family))),
        ),
      );
    const knock = async (address: string): Promise<void> => {
      const before = denied().reduce((sum, each) => sum + each, 0n);
      const socket = connect({ host: address, port: 80 });
      socket.on('error', () => undefined);
      for (let at = 0; at < 1000 && denied().reduce((sum, each) => sum + each, 0n) === before; at += 1)
        await new Promise((resolve) => setTimeout(resolve, 10));
      socket.destroy();
      await once(socket, 'close');
    };
    shell(
      'ip link set lo up; ip address add 192.0.2.8/32 dev lo; ip address add 2001:db8::8/128 dev lo nodad',
    );
    try {
      ledger.change([], [server(4, ['10.0.0.0/8']), server(6, ['2001:db8:1::/48'])]);
      transact(
        netfilter,
        tableFamilies.flatMap((family) => rebuild(family, ledger.elements(family))),
      );
      assert.deepEqual(denied(), [0n, 0n]);
      for (const address of ['192.0.2.8', '2001:db8::8']) await knock(address);
      const [four = 0n, six = 0n] = denied();
      assert.ok(four > 0n && six > 0n, `${four}, ${six}`);
      build();
      assert.deepEqual(denied(), [four, six]);
      await knock('192.0.2.8');
      assert.ok((denied()[0] ?? 0n) > four && denied()[1] === six, denied().join());
    } finally {
      netfilter.close();
    }
  });

  test('segments of a backend outside a connection are dropped; the backends stay known when the tables are rebuilt', async () => {
    const netfilter = openNetlink(NETLINK_NETFILTER);
    const hosts = openSegmentHosts();
    const table = tableOf('ip');
    const build = (backends: readonly Element[]): void =>
      transact(netfilter, rebuild('ip', new Map(), new Map(), backends));
    /** Returns the ports of the backend from which segments reach the client and the host itself. */
    const arrived = async (): Promise<string[]> => {
      const client = hosts.run('client', listener);
      const closed = once(client, 'close');
      let said = '';
      client.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
      await once(client.stdout, 'data');
      await once(hosts.run('backend', sender), 'exit');
      await closed;
      return said.trim().split('\n').slice(1);
    };
    try {
      const known = {
        key: concatenated(Buffer.of(10, 1, 2, 2), Buffer.of(6), be16(8080)),
        milliseconds: 3_600_000,
      };
      build([known]);
      adoptNoConnection();
      assert.deepEqual(await arrived(), ['9999']);
      build(readBackends(netfilter, table));
      assert.deepEqual(await arrived(), ['9999']);
      build([]);
      assert.deepEqual(await arrived(), ['8080', '9999']);
    } finally {
      hosts.end();
      netfilter.close();
    }
  });
}

const listener = `
import socket
seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
seen.settimeout(10)
print('listening', flush=True)
ports = set()
while 9999 not in ports:
    packet, kind = seen.recvfrom(200)
    if packet[9] == 6 and kind[2] != 4: ports.add(int.from_bytes(packet[20:22], 'big'))
print('\\n'.join(str(port) for port in sorted(ports)))
`;
/**
 * The last port is not a backend's: when its segment has arrived, those before it have arrived or were
 * dropped.
 */
const sender = `${segments}
for port in 8080, 9999: send_segments('10.1.2.2', port, ('10.1.1.2', 1))
`;
