import assert from 'node:assert/strict';
import { test } from 'node:test';
import { difference, entriesOf, keyOf, subnetsOf } from '../data-plane/entries.ts';
import type { Own } from '../data-plane/entries.ts';
import { createPeers } from './peers.ts';
import type { Peers } from './peers.ts';
import { encode, keysOf, readHost } from '../records/records.ts';
import type { HostRecord } from '../records/records.ts';
import { readSettings } from '../records/settings.ts';
import type { OverlaySettings } from '../records/settings.ts';

const keys = keysOf('shop');
const record = (number: number): HostRecord => ({
  id: `id-${number}`,
  underlay: `192.0.2.${number}`,
  vxlan: { mac: `02:00:00:00:00:0${number}`, port: 4789 },
  mtu: 1450,
});
const host = (number: number): { key: string; value: Buffer } => ({
  key: keys.host(`host-${number}`),
  value: encode(record(number)),
});
const claim = (subnet: string, number: number): { key: string; value: Buffer } => ({
  key: keys.subnet(subnet),
  value: encode({ host: `host-${number}`, id: `id-${number}` }),
});
const holdMs = 1000;
const two = [host(2), claim('10.128.2.0/24', 2), claim('fd00::2:0:0:0:0/64', 2)];
const known = (): Peers => {
  const peers = createPeers('host-1', keys, holdMs);
  peers.list([host(1), claim('10.128.1.0/24', 1), ...two], 0);
  return peers;
};

test('the other hosts are peers with their subnets, this host is not a peer', () => {
  assert.deepEqual(
    known()
      .all()
      .map(({ host: name, subnets, held }) => ({ name, subnets, held })),
    [{ name: 'host-2', subnets: ['10.128.2.0/24', 'fd00:0:0:2::/64'], held: false }],
  );
});

test('packets are sent to a host that is gone from etcd until the hold time is over', () => {
  const peers = known();
  peers.change([{ key: keys.host('host-2'), value: undefined }], 10);
  assert.equal(peers.peer('host-2')?.record.underlay, '192.0.2.2');
  assert.equal(peers.nextExpiry(), 10 + holdMs);
  assert.equal(peers.expire(9 + holdMs).size, 0);
  assert.deepEqual([...peers.expire(10 + holdMs)], ['host-2']);
  assert.equal(peers.peer('host-2'), undefined);
});

test('a host that comes back within the hold time changes nothing', () => {
  const peers = known();
  peers.change([{ key: keys.host('host-2'), value: undefined }], 10);
  peers.change([host(2)], 20);
  assert.equal(peers.nextExpiry(), undefined);
  assert.equal(peers.expire(100 * holdMs).size, 0);
});

test('after etcd was restored empty, all hosts are held, and hosts that write their records again stay', () => {
  const peers = known();
  peers.list([], 10);
  assert.equal(peers.all().length, 1);
  peers.list(two, 20);
  peers.expire(10 * holdMs);
  assert.deepEqual(
    peers.all().map(({ host: name, held }) => ({ name, held })),
    [{ name: 'host-2', held: false }],
  );
});

test('a subnet that another host claims is removed from its former host at once, held or not', () => {
  const peers = known();
  peers.change([{ key: keys.host('host-2'), value: undefined }], 10);
  const touched = peers.change([host(3), claim('10.128.2.0/24', 3)], 20);
  assert.deepEqual([...touched].sort(), ['host-2', 'host-3']);
  assert.deepEqual(peers.peer('host-2')?.subnets, ['fd00:0:0:2::/64']);
  assert.deepEqual(peers.peer('host-3')?.subnets, ['10.128.2.0/24']);
});

test('packets are sent to saved hosts before etcd answers after a start', () => {
  const peers = createPeers('host-1', keys, holdMs, [
    { host: 'host-2', record: record(2), subnets: ['10.128.2.0/24'] },
  ]);
  assert.equal(peers.peer('host-2')?.subnets.length, 1);
  assert.equal(peers.nextExpiry(), undefined);
});

test('unreadable values change nothing and are reported by name', () => {
  const peers = known();
  for (const text of [
    '',
    '{',
    '[]',
    '{"id":1}',
    JSON.stringify({ ...record(2), underlay: 'somewhere' }),
    JSON.stringify({ ...record(2), mtu: 1 }),
  ]) {
    peers.change([{ key: keys.host('host-2'), value: Buffer.from(text) }], 10);
    assert.equal(readHost(Buffer.from(text)), undefined, text);
  }
  peers.change([{ key: `${keys.all}subnets/nowhere`, value: encode({ host: 'host-2', id: 'x' }) }], 10);
  assert.deepEqual([...peers.unreadable].sort(), [keys.host('host-2'), `${keys.all}subnets/nowhere`]);
  assert.equal(peers.peer('host-2')?.record.underlay, '192.0.2.2');
});

const own: Own = {
  record: record(1),
  subnets: ['10.128.1.0/24'],
  networks: readSettings({
    name: 'shop',
    host: 'host-1',
    etcd: { endpoints: ['http://192.0.2.1:2379'] },
    networks: [{ prefix: '10.128.0.0/14', hostLength: 24 }],
  } as unknown as OverlaySettings).networks,
};

test('no host gets more than a host subnet of the network, or the subnet of this host', () => {
  const subnets = [
    '0.0.0.0/1',
    '10.128.0.0/15',
    '10.128.1.0/24',
    '10.131.255.0/24',
    '10.132.0.0/24',
    '192.0.2.0/24',
  ];
  assert.deepEqual(subnetsOf({ host: 'host-2', record: record(2), subnets }, own), ['10.131.255.0/24']);
});

test('entries are added from the lowest layer up and removed from the highest layer down', () => {
  const entries = (underlay: string): Map<string, ReturnType<typeof entriesOf>[number]> =>
    new Map(
      entriesOf(
        { host: 'host-2', record: { ...record(2), underlay, mtu: 1400 }, subnets: ['10.128.2.0/24'] },
        own,
      ).map((entry) => [keyOf(entry), entry]),
    );
  const before = entries('192.0.2.2');
  assert.deepEqual(
    [...before.values()],
    [
      { kind: 'forwarding', mac: '02:00:00:00:00:02', remote: '192.0.2.2' },
      { kind: 'neighbour', address: '10.128.2.0', mac: '02:00:00:00:00:02' },
      { kind: 'route', subnet: '10.128.2.0/24', gateway: '10.128.2.0', source: '10.128.1.0', mtu: 1400 },
    ],
  );
  assert.deepEqual(
    difference(new Map(), before).put.map(({ kind }) => kind),
    ['forwarding', 'neighbour', 'route'],
  );
  assert.deepEqual(
    difference(before, new Map()).remove.map(({ kind }) => kind),
    ['route', 'neighbour', 'forwarding'],
  );
  assert.deepEqual(difference(before, entries('192.0.2.9')), {
    remove: [],
    put: [{ kind: 'forwarding', mac: '02:00:00:00:00:02', remote: '192.0.2.9' }],
  });
});

test('impossible settings are refused, and the error names the field', () => {
  const good = {
    name: 'shop',
    host: 'host-1',
    etcd: { endpoints: ['http://192.0.2.1:2379'] },
    networks: [{ prefix: '10.128.0.0/14', hostLength: 24 }],
  };
  const wrong: readonly [string, object][] = [
    ['name', { name: 'Shop!' }],
    ['host', { host: '' }],
    ['etcd.endpoints', { etcd: { endpoints: ['192.0.2.1:2379'] } }],
    ['etcd.endpoints', { etcd: { endpoints: [] } }],
    ['etcd.cert', { etcd: { endpoints: ['http://192.0.2.1:2379'], cert: 'x' } }],
    ['network', { networks: [{ prefix: '10.128.0.1/14', hostLength: 24 }] }],
    ['network', { networks: [] }],
    ['network', { networks: [...good.networks, { prefix: '10.0.0.0/14', hostLength: 24 }] }],
    ['hostPrefix', { networks: [{ prefix: '10.128.0.0/14', hostLength: 14 }] }],
    ['hostPrefix', { networks: [{ prefix: '10.128.0.0/14', hostLength: 31 }] }],
  ];
  for (const [field, change] of wrong)
    assert.throws(
      () => readSettings({ ...good, ...change } as unknown as OverlaySettings),
      (thrown: Error & { code?: string }) =>
        thrown.code === 'OVERLAY_SETTINGS_INVALID' && thrown.message.includes(field),
      field,
    );
});
