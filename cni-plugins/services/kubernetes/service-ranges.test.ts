import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createServiceRanges } from './service-ranges.ts';

const range = (name: string, ...cidrs: readonly unknown[]): object => ({
  metadata: { name },
  spec: { cidrs },
});

test('the prefixes of all objects are returned in canonical form, without those of removed or changed objects', () => {
  let changes = 0;
  const { collection, prefixes } = createServiceRanges(() => (changes += 1));
  collection.begin();
  collection.listed(range('kubernetes', '10.96.0.0/16', 'fd00:10:96:0::/112'));
  collection.listed(range('more', '10.97.0.0/24'));
  assert.deepEqual([collection.came(), changes], [false, 0]);
  collection.complete();
  assert.deepEqual([collection.came(), changes], [true, 1]);
  assert.deepEqual(prefixes([]), {
    prefixes: ['10.96.0.0/16', '10.97.0.0/24', 'fd00:10:96::/112'],
    left: [],
  });
  collection.changed(range('more', '10.98.0.0/24'));
  assert.deepEqual(prefixes([]).prefixes, ['10.96.0.0/16', '10.98.0.0/24', 'fd00:10:96::/112']);
  collection.removed(range('more'));
  assert.deepEqual(prefixes([]).prefixes, ['10.96.0.0/16', 'fd00:10:96::/112']);
  collection.begin();
  collection.complete();
  assert.deepEqual([prefixes([]).prefixes, changes], [[], 4]);
});

test('a prefix that is invalid, too short, or contains an address of a node or of the API server is left out', () => {
  const { collection, prefixes } = createServiceRanges(() => undefined);
  collection.changed(range('a', '10.96.0.0', '0.0.0.0/0'));
  collection.changed(range('b', '192.0.2.0/24', '::/0'));
  collection.changed(range('c', 7, null));
  collection.changed(range('d', '10.96.0.0/16', '10.96.0.0/16', '10.97.0.0/16'));
  collection.changed({ metadata: { name: 'e' } });
  collection.changed('text');
  const found = prefixes(['192.0.2.10', 'api.example']);
  assert.deepEqual(found.prefixes, ['10.96.0.0/16']);
  assert.deepEqual(found.left, [
    '"10.96.0.0" is not a prefix',
    '0.0.0.0/0 is shorter than /8',
    '192.0.2.0/24 contains 192.0.2.10, which is not a Service address',
    '::/0 is shorter than /32',
    '"" is not a prefix',
  ]);
});

test('at most 64 prefixes are followed', () => {
  const { collection, prefixes } = createServiceRanges(() => undefined);
  for (let number = 0; number < 100; number += 1)
    collection.changed(range(`r${number}`, `10.${number}.0.0/24`));
  const { prefixes: found, left } = prefixes([]);
  assert.deepEqual([found.length, left], [64, ['there are 100 prefixes, more than 64']]);
});
