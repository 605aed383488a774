import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { createNamespaceLimits } from './namespace-limits.ts';

test('an object that comes to a full namespace leaves, and those that were there stay', () => {
  const limits = createNamespaceLimits({ ofNamespace: 100, ofAll: 1000 });
  for (const name of ['a', 'b', 'c', 'd']) assert.deepEqual(limits.put(`n/${name}`, 25), []);
  assert.deepEqual(limits.put('n/e', 25), ['n/e']);
  assert.deepEqual(limits.put('other/a', 25), []);
  limits.put('n/a', undefined);
  assert.deepEqual(limits.put('n/e', 25), []);
});

test('a small object that comes to a full namespace makes the largest leave', () => {
  const limits = createNamespaceLimits({ ofNamespace: 100, ofAll: 1000 });
  limits.put('n/large', 80);
  limits.put('n/small', 10);
  assert.deepEqual(limits.put('n/other', 15), ['n/large']);
});

test('objects of namespaces that use most leave when all together exceed the limit', () => {
  const limits = createNamespaceLimits({ ofNamespace: 100, ofAll: 150 });
  limits.put('victim/a', 10);
  limits.put('greedy/a', 50);
  limits.put('greedy/b', 45);
  assert.deepEqual(limits.put('other/a', 50), ['greedy/a']);
});

test('the cost of objects beyond the limit is in proportion to their number', async () => {
  await assertNearLinear(
    'objects',
    (n) => {
      const limits = createNamespaceLimits({ ofNamespace: 1000, ofAll: 10_000 });
      for (let at = 0; at < n; at += 1) limits.put(`n/${at}`, 1);
    },
    { n: 5000 },
  );
});
