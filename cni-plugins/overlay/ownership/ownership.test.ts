import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Changed, Written } from './facts.ts';
import { createOwnership } from './ownership.ts';
import type { Ownership } from './ownership.ts';
import { createPeers } from './peers.ts';
import { encode, identitiesOf, keysOf } from '../records/records.ts';
import type { HostRecord } from '../records/records.ts';

const keys = keysOf('shop');
const [a, b] = [keys.own('host-a'), keys.own('host-b')];
const record = (number: number, more: Partial<HostRecord> = {}): HostRecord => ({
  id: `id-${number}`,
  underlay: `192.0.2.${number}`,
  vxlan: { mac: `02:00:00:00:00:0${number}`, port: 4789 },
  mtu: 1450,
  ...more,
});
const wireguard = (number: number): HostRecord => {
  const key = (at: number): string => Buffer.alloc(32, at).toString('base64');
  return {
    id: `id-${number}`,
    underlay: `192.0.2.${number}`,
    mtu: 1450,
    wireguard: { publicKey: key(number), nextKey: key(number + 10), port: 1 },
  };
};
let revision = 100;
const put = (key: string, value: object | string = {}, createRevision = (revision += 1)): Written => ({
  key,
  value: typeof value === 'string' ? Buffer.from(value) : encode(value),
  createRevision,
  modRevision: (revision += 1),
});
const gone = (key: string): Changed => ({
  key,
  value: undefined,
  createRevision: 0,
  modRevision: (revision += 1),
});
const whole = (own: typeof a, said: HostRecord, subnet: string): Written[] => [
  ...identitiesOf(said).map((value) => put(own.identity(value))),
  put(own.subnet(subnet), { id: said.id }),
  put(own.record, said),
];
const two = (): Written[] => [
  ...whole(a, record(1), '10.128.1.0/24'),
  ...whole(b, record(2), '10.128.2.0/24'),
];
const opened = (written: readonly Written[]): Ownership => {
  const view = createOwnership(keys);
  view.list(written, revision);
  return view;
};
const change = (view: Ownership, ...changes: readonly Changed[]): string[] =>
  view
    .change(changes, revision)
    .map(({ key, value }) => `${key.slice(keys.all.length)}${value === undefined ? ' gone' : ''}`);
const refusals = (view: Ownership): string =>
  [...view.refused].map(([key, why]) => `${key.slice(keys.all.length)}: ${why}`).join('\n');

test('each host writes its own records and subnets, from which the peers are derived', () => {
  const facts = createOwnership(keys).list(two(), revision);
  const peers = createPeers('host-a', keys, 1000);
  peers.list(facts, 0);
  assert.deepEqual(peers.peer('host-b')?.subnets, ['10.128.2.0/24']);
  assert.equal(peers.peer('host-b')?.record.underlay, '192.0.2.2');
  assert.equal(peers.holderOf('10.128.1.0/24'), 'host-a');
});

test('a subnet belongs to the host whose key is older, in whatever order the keys arrive; the other key is refused until the first host releases the subnet', () => {
  const [first, second] = [
    put(b.subnet('10.128.9.0/24'), { id: 'id-2' }),
    put(a.subnet('10.128.9.0/24'), { id: 'id-1' }),
  ];
  for (const order of [
    [first, second],
    [second, first],
  ]) {
    const view = opened([]);
    for (const each of order) change(view, each);
    assert.equal(view.subnetHolder('10.128.9.0/24'), 'host-b');
    assert.match(
      refusals(view),
      /^hosts\/host-a\/subnets\/10\.128\.9\.0-24: 10\.128\.9\.0\/24 belongs to host-b, whose claim is older$/u,
    );
    assert.deepEqual(change(view, gone(b.subnet('10.128.9.0/24'))), [
      'subnets/10.128.9.0/24'.replace('/24', '-24'),
    ]);
    assert.equal(view.subnetHolder('10.128.9.0/24'), 'host-a');
    assert.equal(refusals(view), '');
  }
});

test('a host cannot take the subnet of another by another spelling of it, nor by a later value in its older key', () => {
  const view = opened([...two(), put(b.subnet('fd00:0:0:2::/64'), { id: 'id-2' })]);
  for (const subnet of ['fd00::2:0:0:0:0/64', 'fd00:0:0:2::0/64', '10.128.2.0/24'])
    change(view, put(a.subnet(subnet), { id: 'id-1' }));
  change(view, put(a.subnet('10.128.1.0/24'), { host: 'host-b', id: 'id-2' }, 101));
  assert.equal(view.subnetHolder('fd00:0:0:2::/64'), 'host-b');
  assert.equal(view.subnetHolder('10.128.2.0/24'), 'host-b');
  assert.match(
    refusals(view),
    /hosts\/host-a\/subnets\/10\.128\.1\.0-24: it is written for the host "host-b"/u,
  );
});

test('only the oldest subnet of a host counts for each family, so additional claims do not affect other hosts', () => {
  const view = opened(two());
  change(
    view,
    put(a.subnet('10.128.3.0/24'), { id: 'id-1' }),
    put(b.subnet('10.128.4.0/24'), { id: 'id-2' }),
  );
  change(view, put(keys.own('host-c').subnet('10.128.3.0/24'), { id: 'id-3' }));
  assert.equal(view.subnetHolder('10.128.3.0/24'), 'host-c');
  assert.match(refusals(view), /10\.128\.3\.0\/24 is ignored, because the host host-a already has a subnet/u);
});

for (const [what, theirs, stolen] of [
  ['MAC address', record(2), record(1, { vxlan: record(2).vxlan! })],
  ['underlay address', record(2), record(1, { underlay: '192.0.2.2' })],
  [
    'WireGuard key',
    wireguard(2),
    {
      ...wireguard(1),
      wireguard: { ...wireguard(1).wireguard!, publicKey: wireguard(2).wireguard!.publicKey },
    },
  ],
  [
    'next WireGuard key',
    wireguard(2),
    {
      ...wireguard(1),
      wireguard: { ...wireguard(1).wireguard!, nextKey: wireguard(2).wireguard!.publicKey },
    },
  ],
] as const)
  test(`a record that names the ${what} of another host is refused, with and without a claim; the previous record stays`, () => {
    const own = theirs.wireguard === undefined ? record(1) : wireguard(1);
    const view = opened([...whole(b, theirs, '10.128.2.0/24'), ...whole(a, own, '10.128.1.0/24')]);
    const before = view.change([], revision);
    assert.deepEqual(before, []);
    assert.deepEqual(change(view, put(a.record, stolen)), []);
    assert.match(refusals(view), /^hosts\/host-a\/record: it names .* which it does not claim$/u);
    assert.deepEqual(change(view, ...identitiesOf(stolen).map((value) => put(a.identity(value)))), []);
    assert.match(refusals(view), /^hosts\/host-a\/record: it names .* which belongs to the host host-b$/u);
    assert.match(view.refusalOf('host-a')!, /host-b/u);
    // The other host is away for a while: its record is gone. It keeps what it has, except the address, which
    // a new machine may have.
    const taken = change(view, gone(b.record));
    assert.deepEqual(
      taken,
      what === 'underlay address'
        ? ['hosts/host-a', 'hosts/host-b gone'].toSorted((x, y) => taken.indexOf(x) - taken.indexOf(y))
        : ['hosts/host-b gone'],
    );
    assert.ok(change(view, put(b.record, theirs)).includes('hosts/host-b'), 'it is back');
    assert.equal(view.refusalOf('host-b'), undefined);
    assert.match(view.refusalOf('host-a')!, /host-b/u);
  });

test('claims for other hosts, bad names and bad values do not count; each is reported by its key, and the rest applies', () => {
  const view = opened(two());
  const service = (record_: object): string => a.virtual('web', encode(record_));
  const bad: readonly Written[] = [
    put(a.record, 'no JSON'),
    put(a.subnet('nowhere'), { id: 'x' }),
    put(a.subnet('10.128.5.0/24'), '{"id":7}'),
    put(service({ mode: 'both', addresses: [] })),
    put(`${a.all}virtual/web/%%%`),
    put(a.address('10.128.9.07', 'web')),
    put(a.address('10.128.9.7', 'Not-A-Name')),
    put(a.port('tcp-99999', 'web')),
    put(a.holder('web'), { host: 'host-b', id: 'id-2', ingressPorts: [] }),
    put(a.members('web'), { members: [{}] }),
  ];
  assert.deepEqual(change(view, ...bad), []);
  assert.equal(view.refused.size, bad.length, refusals(view));
  for (const key of [
    `${keys.all}hosts/`,
    `${keys.all}hosts/../record`,
    `${keys.all}hosts/(services)/record`,
    `${a.all}record/more`,
    `${a.all}${'/'.repeat(1000)}`,
  ])
    assert.deepEqual(change(view, put(key, record(3))), [], key);
  assert.deepEqual(change(view, put(keys.own('host-c').subnet('10.128.7.0/24'), { id: 'id-3' })), [
    'subnets/10.128.7.0-24',
  ]);
});

test('a service and its claims belong to the oldest key; another host with a claim keeps it when the first leaves', () => {
  const web = encode({ mode: 'vip', addresses: ['10.128.9.7'] });
  const foreign = encode({ mode: 'dnsrr', addresses: [] });
  const of = (own: typeof a, bytes = web): Written[] => [
    put(own.virtual('web', bytes)),
    put(own.address('10.128.9.7', 'web')),
    put(own.port('tcp-80', 'web')),
  ];
  const view = opened([...of(a), ...of(b)]);
  change(
    view,
    ...of(keys.own('host-c'), foreign),
    put(keys.own('host-c').address('10.128.9.7', 'evil')),
    put(keys.own('host-c').port('tcp-80', 'evil')),
  );
  change(
    view,
    gone(a.virtual('web', web)),
    gone(a.address('10.128.9.7', 'web')),
    gone(a.port('tcp-80', 'web')),
  );
  // A host that was first and makes another claim with another key becomes the youngest.
  change(view, put(a.virtual('web', foreign)), put(a.address('10.128.9.7', 'evil')));
  assert.equal(view.virtual('web')?.value.toString(), web.toString());
  assert.equal(view.addressHolder('10.128.9.7'), 'web');
  assert.equal(view.portHolder('tcp-80'), 'web');
});

test('keys of the former version count as long as their hosts have no other', () => {
  const old: Written[] = [
    put(keys.host('host-o'), record(5)),
    put(keys.subnet('10.128.5.0/24'), { host: 'host-o', id: 'id-5' }),
  ];
  const view = opened([...old, ...two()]);
  change(view, put(keys.own('host-c').subnet('10.128.5.0/24'), { id: 'id-3' }));
  assert.equal(view.subnetHolder('10.128.5.0/24'), 'host-o');
  assert.deepEqual(view.oldHosts(), ['host-o']);
  const own = keys.own('host-o');
  assert.deepEqual(
    change(view, ...whole(own, record(5), '10.128.5.0/24')),
    [],
    'nothing changes when it becomes one of this version',
  );
  assert.deepEqual(view.oldHosts(), []);
  assert.match(
    refusals(view),
    /^hosts\/host-c\/subnets\/10\.128\.5\.0-24: 10\.128\.5\.0\/24 belongs to host-o, whose claim is older$/u,
  );
  change(view, gone(keys.own('host-c').subnet('10.128.5.0/24')));
  change(view, gone(keys.subnet('10.128.5.0/24')), gone(keys.host('host-o')));
  assert.equal(view.subnetHolder('10.128.5.0/24'), 'host-o');
});

test('a listing refuses the same keys over quota as their arrival one by one', () => {
  const written = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0].map((index) =>
    put(a.subnet(`10.128.2${index}.0/24`), { id: 'id-1' }),
  );
  const seen = opened([]);
  for (const each of written) change(seen, each);
  const listed = opened(written.toSorted((one, other) => (one.key < other.key ? -1 : 1)));
  assert.deepEqual([...listed.keysOf('host-a')].toSorted(), [...seen.keysOf('host-a')].toSorted());
  assert.equal(listed.subnetHolder('10.128.29.0/24'), 'host-a');
});

test('the refused keys of one host do not hide those of others', () => {
  const view = opened(two());
  for (let index = 0; index < 2000; index += 1) change(view, put(a.holder(`s${index}`), 'x'));
  change(view, put(b.holder('web'), 'x'));
  assert.match(refusals(view), /^hosts\/host-b\/holders\/web: it cannot be read$/mu);
  assert.ok(view.refused.size < 100, 'the status shows 100');
  for (let index = 0; index < 2000; index += 1) change(view, gone(a.holder(`s${index}`)));
  assert.equal(refusals(view), 'hosts/host-b/holders/web: it cannot be read');
  change(view, put(a.holder('web'), 'x'));
  assert.match(refusals(view), /^hosts\/host-a\/holders\/web: it cannot be read$/mu);
});

test('the oldest claim on a subnet is known although it does not count, so that nobody chooses the subnet', () => {
  const view = opened(two());
  const hidden = ['10.128.8.0/24', '10.128.7.0/24', '10.128.9.0/24'] as const;
  // One that is not the first of its family, one that cannot be read yet, and one over quota.
  change(view, put(a.subnet(hidden[0]), { id: 'id-1' }), put(a.subnet(hidden[1]), 'x'));
  const others = Array.from({ length: 6 }, (_, index) => `10.129.${index}.0/24`);
  change(view, ...others.map((subnet) => put(a.subnet(subnet), { id: 'id-1' })));
  change(view, put(a.subnet(hidden[2]), { id: 'id-1' }));
  for (const subnet of hidden) {
    assert.equal(view.subnetHolder(subnet), undefined);
    assert.equal(view.oldestClaimOf(subnet), 'host-a');
  }
  change(view, put(b.subnet(hidden[0]), { id: 'id-2' }));
  assert.equal(view.oldestClaimOf(hidden[0]), 'host-a');
  change(view, ...hidden.map((subnet) => gone(a.subnet(subnet))));
  assert.deepEqual(hidden.map(view.oldestClaimOf), ['host-b', undefined, undefined]);
});

test('keys or bytes beyond the limit of a host are ignored, and other hosts continue', () => {
  const view = opened(two());
  for (let index = 0; index < 40; index += 1)
    change(view, put(a.members(`s${index}`), JSON.stringify({ members: [], more: 'x'.repeat(1024 * 1024) })));
  assert.match(refusals(view), /the host host-a has more keys than a host may have/u);
  for (let index = 0; index < 50; index += 1)
    change(view, put(a.identity(`mac-02:00:00:00:01:${index + 10}`)));
  const c = whole(
    keys.own('host-c'),
    record(3, { vxlan: { mac: '02:00:00:00:01:50', port: 4789 } }),
    '10.128.3.0/24',
  );
  assert.ok(change(view, ...c).includes('hosts/host-c'), 'it takes only a few identities');
  assert.ok(view.refused.size <= 1000);
  for (let index = 0; index < 5000; index += 1) change(view, put(a.holder(`s${index}`), 'x'));
  assert.ok(view.refused.size <= 1000);
});

test('what is kept of an incomplete listing is bounded for each host, and means the same as the whole listing', () => {
  const large = { id: 'id-1', members: [], more: 'x'.repeat(1024 * 1024) };
  const written = [
    ...Array.from({ length: 40 }, (_, index) => put(a.members(`s${index}`), large)),
    ...Array.from({ length: 10 }, (_, index) => put(a.subnet(`10.129.${index}.0/24`), large)),
    ...Array.from({ length: 10 }, (_, index) => put(`${a.all}no-kind/${index}`, large)),
    ...two(),
  ];
  const view = createOwnership(keys);
  const kept = view.within(written);
  const bytes = kept.reduce((sum, { value }) => sum + value.length, 0);
  assert.ok(bytes < 34 * 1024 * 1024, `${bytes}`);
  const facts = view.list(kept, revision);
  assert.deepEqual(facts, createOwnership(keys).list(written, revision));
  assert.match(refusals(view), /more keys than a host may have/u);
  for (let index = 0; index < 10; index += 1)
    assert.equal(view.oldestClaimOf(`10.129.${index}.0/24`), 'host-a');
});

test('claims of an incomplete listing are bounded: those of no subnet, and more than matter, are not kept', () => {
  const names = Array.from({ length: 40 }, (_, index) => `${index}${'x'.repeat(1024 * 1024)}`);
  const noSubnets = names.map((name) => put(`${a.subnets}${name}`, { id: 'id-1' }));
  const many = Array.from({ length: 270_000 }, (_, index) => {
    const [high, low] = [index >> 16, index & 0xffff].map((part) => part.toString(16));
    return put(a.subnet(`fd00:${high}:${low}:1::/64`), { id: 'id-1' });
  });
  const bytesOf = (kept: readonly Written[]): number => kept.reduce((sum, { key }) => sum + key.length, 0);
  const view = createOwnership(keys);
  assert.ok(bytesOf(view.within([...two(), ...noSubnets])) < 34 * 1024 * 1024);
  const kept = view.within([...two(), ...many]);
  assert.ok(kept.length < 263_000, `${kept.length}`);
  view.list(kept, revision);
  // As after the whole listing, nobody chooses a subnet whose claims are not known.
  for (const subnet of ['fd00:0:9:1::/64', 'fd00:4:1fff:1::/64', '10.131.0.0/24'])
    assert.equal(view.oldestClaimOf(subnet), 'host-a');
});

test('reading n hosts of which each claims a subnet of another takes time in proportion to n', () => {
  const made = (count: number): Written[] =>
    Array.from({ length: count }, (_, index) => {
      const own = keys.own(`host-${index}`);
      const said = record(1, { underlay: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}` });
      return [
        ...identitiesOf(said).map((value) => put(own.identity(value))),
        put(own.shared('10.128.9.0/24')),
        put(own.subnet(`10.128.${index % 64}.0/24`), { id: said.id }),
        put(own.virtual('web', encode({ mode: 'vip', addresses: ['10.128.9.7'] }))),
        put(own.address('10.128.9.7', 'web')),
        put(own.record, said),
      ];
    }).flat();
  // Returns processor time, the least of several rounds, so that other programs of the machine do not count.
  const timeOf = (written: readonly Written[]): number => {
    const began = process.cpuUsage();
    const view = createOwnership(keys);
    view.list([], 0);
    for (const each of written) view.change([each], revision);
    const { user, system } = process.cpuUsage(began);
    return (user + system) / 1000;
  };
  const sets = [1500, 3000, 6000].map(made);
  const least = sets.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < 9; round += 1)
    for (const [index, written] of sets.entries()) least[index] = Math.min(least[index]!, timeOf(written));
  const [first, , last] = least as [number, number, number];
  assert.ok(
    last / first < 2.5 ** 2,
    `1500, 3000 and 6000 hosts: ${least.map((each) => each.toFixed(1)).join(', ')} ms of CPU`,
  );
});
