import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createStallLimits } from './stall-limits.ts';

test('each client that is detached halves the limit for the next one, but not for a slow reader', () => {
  let time = 1;
  const limits = createStallLimits({ firstMs: 5_000, leastMs: 500, rememberMs: 60_000 }, () => time);
  const waited = Array.from({ length: 100 }, () => {
    const limit = limits.of('c', 0);
    time += limit;
    limits.detached('c');
    return limit;
  });
  assert.deepEqual(waited.slice(0, 4), [5_000, 2_500, 1_250, 625]);
  assert.equal(waited.at(-1), 500);
  time += 1;
  assert.equal(limits.of('c', time), 5_000, 'it has accepted output since');
  assert.equal(limits.of('other', 0), 5_000);
  time += 60_000;
  assert.equal(limits.of('c', 0), 5_000);
});
