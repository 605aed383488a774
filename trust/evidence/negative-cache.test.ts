import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createNegativeCache } from './negative-cache.ts';

test('an absence is cached from the second answer on, each time for longer, and for at most 30 s', () => {
  let now = 1;
  const absent = createNegativeCache(() => now).of(undefined);
  const believed = [0, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
  for (const milliseconds of believed) {
    absent.note('q');
    assert.equal(absent.knows('q'), milliseconds > 0);
    now += Math.max(0, milliseconds - 1);
    assert.equal(absent.knows('q'), milliseconds > 0);
    now += 1;
    assert.equal(absent.knows('q'), false);
  }
  now += 60_000;
  absent.note('q');
  assert.equal(absent.knows('q'), false, 'answers far apart are not in a row');
});

test('a found object ends an absence, and each set of credentials has its own cache', () => {
  const negativeCache = createNegativeCache(() => 1);
  const [mine, yours] = [
    negativeCache.of({ username: 'a', password: 'b' }),
    negativeCache.of({ username: 'a', password: 'c' }),
  ];
  for (const _ of [1, 2]) mine.note('q');
  assert.deepEqual(
    [mine.knows('q'), yours.knows('q'), negativeCache.of({ username: 'a', password: 'b' }).knows('q')],
    [true, false, true],
  );
  mine.forget('q');
  assert.equal(mine.knows('q'), false);
});

test('the cache is bounded', () => {
  const absent = createNegativeCache(() => 1).of(undefined);
  for (let index = 0; index < 5000; index++) for (const _ of [1, 2]) absent.note(`${index}`);
  assert.deepEqual([absent.knows('0'), absent.knows('4999')], [false, true]);
});
