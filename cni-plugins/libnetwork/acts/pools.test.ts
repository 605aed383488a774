import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openNetworkDatabase } from '../../database/database.ts';
import { createPools } from './pools.ts';
import type { Pools } from './pools.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-pools-'));
const database = openNetworkDatabase(join(folder, 'network.db'));
after(() => {
  database.close();
  rmSync(folder, { recursive: true });
});
const pools: Pools = createPools(database);
const pool = (Pool: string): string =>
  pools.requestPool({ AddressSpace: 'portcullis', Pool, SubPool: '', Options: {}, V6: false }, [], []).PoolID;
const lease = (PoolID: string, Address: string): string =>
  pools.requestAddress({ PoolID, Address, Options: {} }).Address;

for (const [address, words] of [
  ['10.50.0.0', /lease the address 10\.50\.0\.0 of the pool .* it is the address of the network itself/u],
  ['10.50.0.255', /it is the broadcast address/u],
  ['fd50::', /it is the address of the network itself/u],
] as const)
  test(`the address ${address}, which no container can have, is refused on request`, () => {
    const id = pool(address.includes(':') ? 'fd50::/64' : '10.50.0.0/24');
    assert.throws(() => lease(id, address), words);
    pools.releasePool({ PoolID: id });
  });

test('the last address of an IPv6 pool, and both addresses of a link with two, can be requested', () => {
  assert.equal(lease(pool('fd51::/64'), 'fd51::ffff:ffff:ffff:ffff'), 'fd51::ffff:ffff:ffff:ffff/64');
  const two = pool('10.51.0.0/31');
  assert.deepEqual([lease(two, '10.51.0.0'), lease(two, '10.51.0.1')], ['10.51.0.0/31', '10.51.0.1/31']);
});

for (const subnet of [
  '127.0.0.0/8',
  '127.5.0.0/24',
  '224.1.0.0/16',
  '240.0.0.0/8',
  '0.0.0.0/0',
  'fe80::/64',
  'ff02::/64',
])
  test(`the pool ${subnet}, through whose addresses no container could be reached, is refused`, () => {
    assert.throws(() => pool(subnet), /no container could be reached through them/u);
  });
