import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAskerLimits, createRateLimits } from './rate-limits.ts';

test('a client gets its burst, then its rate, and takes nothing from another client', () => {
  const limits = createRateLimits({ rate: 10, burst: 20, share: 0.1 });
  const admitted = (asker: string, now: number): number => {
    let count = 0;
    while (limits.admits(asker, now)) count += 1;
    return count;
  };
  assert.equal(admitted('10.0.0.1', 0), 20);
  assert.equal(admitted('10.0.0.1', 0), 0);
  assert.equal(admitted('10.0.0.2', 0), 20);
  assert.equal(admitted('10.0.0.1', 500), 5);
  assert.equal(admitted('10.0.0.1', 60_000), 20, 'no more than a burst is saved');
  assert.equal(admitted('10.0.0.1', 59_000), 0, 'a clock that was set back adds nothing');
});

test('an expensive question reduces the number of questions that may follow', () => {
  const limits = createRateLimits({ rate: 10, burst: 20, share: 0.1 });
  assert.ok(limits.admits('10.0.0.1', 0));
  limits.took('10.0.0.1', 310);
  assert.equal(limits.admits('10.0.0.1', 1000), false, 'it has 19 - 30 + 10 tokens');
  assert.ok(limits.admits('10.0.0.1', 1300));
  assert.ok(limits.admits('10.0.0.2', 0));
});

test('a question during which the machine stood still makes its asker wait no longer than two bursts', () => {
  const limits = createRateLimits({ rate: 2000, burst: 4000, share: 0.1 });
  assert.ok(limits.admits('10.0.0.1', 0));
  limits.took('10.0.0.1', 10_000);
  assert.equal(limits.admits('10.0.0.1', 10_001), true);
  limits.took('10.0.0.1', 10_000);
  assert.equal(limits.admits('10.0.0.1', 11_001), false);
  assert.equal(limits.admits('10.0.0.1', 14_001), true);
});

test('questions that are each a little expensive use no more than their share of the time', () => {
  const limits = createRateLimits({ rate: 2000, burst: 4000, share: 0.1 });
  const ms = 0.9;
  let spent = 0;
  for (let now = 0; now < 20_000; now += 1)
    while (limits.admits('10.0.0.1', now)) {
      limits.took('10.0.0.1', ms);
      spent += ms;
    }
  assert.ok(spent < 2500, `${spent} ms of 20 s, and of a burst of 200 ms`);
});

test('unknown clients share one bucket, however many addresses they use', () => {
  const limits = createAskerLimits(
    { rate: 1, burst: 2, share: 1 },
    { rate: 1, burst: 3, share: 1 },
    { rate: 9, burst: 9, share: 1 },
  );
  const admitted = Array.from({ length: 10 }, (_, index) => limits.admits(`10.0.0.${index}`, false, 0));
  assert.equal(admitted.filter(Boolean).length, 3);
  assert.ok(limits.admits('10.0.0.1', true, 0), 'a known client has its own bucket');
  limits.took('10.0.0.9', false, 5000);
  assert.ok(
    !limits.admits('10.0.0.8', false, 3000),
    'tokens that one of them took are missing for all of them',
  );
});

test('many clients with many questions leave time for a client with few', () => {
  const limits = createAskerLimits(
    { rate: 2000, burst: 4000, share: 0.1 },
    { rate: 200, burst: 400, share: 0.02 },
    { rate: 14_000, burst: 14_000, share: 0.7 },
  );
  const ms = 0.3;
  let spent = 0;
  let refused = 0;
  for (let now = 0; now < 15_000; now += 1) {
    for (let asker = 0; asker < 20; asker += 1)
      for (let question = 0; question < 3; question += 1)
        if (limits.admits(`10.0.0.${asker}`, true, now)) {
          limits.took(`10.0.0.${asker}`, true, ms);
          if (now >= 5000) spent += ms;
        }
    if (now % 20 !== 0) continue;
    if (limits.admits('10.0.1.1', true, now)) limits.took('10.0.1.1', true, ms);
    else refused += 1;
  }
  assert.equal(refused, 0);
  assert.ok(spent > 5000 && spent < 7500, `${spent} ms of 10 s`);
});
