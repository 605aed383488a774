import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openNetworkDatabase } from '../../database/database.ts';
import { createMembershipStore } from '../../database/memberships.ts';
import { bootOf } from '../../namespaces/namespace-id.ts';
import { createSpannedReader } from '../../services/network-services/spanned.ts';
import { parsePrefix } from '../../../base/addresses/index.ts';
import { readMemberships } from '../../spec/memberships.ts';
import type { MergedService } from './merged.ts';
import { addressHolder } from '../records/service-records.ts';
import type { PublishedMember } from '../records/service-records.ts';
import { openSpannedStore } from './store.ts';
import { createClaimFilter } from './claim-filter.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-spanned-'));
const database = openNetworkDatabase(join(folder, 'network.db'));
after(() => {
  database.close();
  rmSync(folder, { recursive: true, force: true });
});
const namespaceId = `${bootOf()}/1`;
const member = (id: string, addresses: readonly string[]): PublishedMember => ({
  id,
  addresses,
  isReady: true,
  aliases: [],
  ports: [],
  ingressPorts: [],
});
const web = (members: readonly (readonly [string, readonly PublishedMember[]])[]): MergedService => ({
  mode: 'dnsrr',
  addresses: [],
  ingressPorts: [],
  members: new Map(members),
});
const changes = (): unknown => database.db.prepare('SELECT total_changes() AS changes').get()?.['changes'];

test('known services are stored for the load balancer and for the next run; unchanged services are not written', () => {
  const two = [member('a', ['10.128.2.2'])];
  const store = openSpannedStore(database, namespaceId, 'shop', 'br0');
  store.put(
    new Map([
      [
        'web',
        web([
          ['two', two],
          ['three', [member('b', ['10.128.3.2'])]],
        ]),
      ],
    ]),
  );
  const read = createSpannedReader(database, namespaceId);
  const found = (): string[] =>
    read()
      .get('shop')
      ?.services.get('web')
      ?.members.map(({ id, host }) => `${id} on ${host}`) ?? [];
  assert.deepEqual(found(), ['b on three', 'a on two']);
  const before = Number(changes());
  store.put(new Map([['web', web([['two', two]])]]));
  assert.equal(Number(changes()) - before, 1, 'one host left');
  store.put(new Map([['web', web([['two', two]])]]));
  assert.equal(Number(changes()) - before, 1);
  assert.deepEqual(
    openSpannedStore(database, namespaceId, 'shop', 'br0').known.get('web'),
    web([['two', two]]),
  );
  assert.equal(
    createSpannedReader(database, `${bootOf()}/2`)().size,
    0,
    'it belongs to this host namespace only',
  );
  const other = openSpannedStore(database, namespaceId, 'vault', 'br0');
  assert.deepEqual([...read().keys()], ['vault'], 'this host takes part in one overlay');
  other.forget();
  assert.equal(read().size, 0);
});

test('a member that joins here in another mode than on other hosts is refused, and the message names those hosts', () => {
  const store = openSpannedStore(database, namespaceId, 'shop', 'br0');
  store.put(new Map([['web', web([['two', [member('a', ['10.128.2.2'])]]])]]));
  const join1 = (): void =>
    database.transaction(() =>
      createMembershipStore(database).put(
        { namespaceId, network: 'shop', holder: 'c/eth0', attachment: 1 },
        {
          memberships: readMemberships([{ name: 'web', ports: [80] }], 'test'),
          addresses: [],
          ipam: undefined,
        },
      ),
    );
  assert.throws(join1, /its members on the host two have the other mode/u);
});

for (const [table, left] of [
  ['spanned_service', ['db']],
  ['spanned_member', ['db', 'web']],
] as const)
  test(`a damaged row of ${table} costs its service until etcd reports it, and no other service`, () => {
    const services = new Map(['db', 'web'].map((name) => [name, web([['two', [member(name, [])]]])]));
    openSpannedStore(database, namespaceId, 'shop', 'br0').put(services);
    const sql = `UPDATE ${table} SET document = substr(document, 1, 10) WHERE service = 'web'`;
    assert.equal(database.db.prepare(sql).run().changes, 1);
    const read = createSpannedReader(database, namespaceId);
    assert.deepEqual([...(read().get('shop')?.services.keys() ?? [])], left);
    const join1 = (network: string, name: string): void =>
      createMembershipStore(database).put(
        { namespaceId, network, holder: 'c/eth0', attachment: 1 },
        {
          memberships: readMemberships([{ name, ports: [80], mode: 'dnsrr' }], 'test'),
          ...{ addresses: [], ipam: undefined },
        },
      );
    database.db.exec('PRAGMA foreign_keys = OFF');
    join1('shop', 'web');
    database.db.exec('DELETE FROM service_member; PRAGMA foreign_keys = ON');
    const store = openSpannedStore(database, namespaceId, 'shop', 'br0');
    assert.deepEqual([...store.known.keys()], left);
    store.put(services);
    assert.deepEqual(read().get('shop')?.services.get('web')?.members.length, 1);
    store.forget();
  });

test('a member keeps only addresses of its host’s subnet, and a service only its own addresses; unchanged services stay identical', () => {
  const subnets = new Map([
    ['10.128.1.0/24', 'one'],
    ['10.128.2.0/24', 'two'],
    ['10.128.3.0/24', 'three'],
    ['10.128.9.0/24', addressHolder],
  ]);
  let subnetsChanged = 0;
  const filter = createClaimFilter(
    [{ prefix: parsePrefix('10.128.0.0/14')!, hostLength: 24 }],
    {
      subnetHolder: (subnet) => subnets.get(subnet),
      addressHolder: (address) => (address === '10.128.9.8' ? 'other' : 'web'),
      subnetsChanged: () => subnetsChanged,
    },
    'one',
  );
  const addresses = [
    '10.128.2.2',
    '10.128.1.2',
    '10.128.3.2',
    '10.128.9.2',
    '10.128.4.2',
    '192.0.2.1',
    'fd00::1',
    '::ffff:10.128.2.2',
  ];
  const given = {
    ...web([['two', [member('a', addresses)]]]),
    addresses: ['10.128.9.7', '10.128.9.8', '10.128.3.7', '192.0.2.7'],
  };
  const first = filter.without('web', given);
  assert.deepEqual(first.members.get('two')?.[0]?.addresses, ['10.128.2.2']);
  assert.deepEqual(
    first.addresses,
    ['10.128.9.7'],
    'no address of another service, of a host or outside the networks',
  );
  assert.match(
    [...filter.found.values()].join(),
    /^members of web on two: 10\.128\.1\.2, 10\.128\.3\.2, .* belong to no pod of that host$/u,
  );
  assert.equal(filter.without('web', given).members.get('two'), first.members.get('two'));
  subnets.set('10.128.2.0/24', 'three');
  subnetsChanged += 1;
  assert.deepEqual(filter.without('web', given).members.get('two')?.[0]?.addresses, []);
});
