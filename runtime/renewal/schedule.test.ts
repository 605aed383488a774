import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assert as hold, double, integer, property } from 'fast-check';
import { firstTry, nextRootUpdate, nextTry } from './schedule.ts';

const hour = 3_600_000;
const random = double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const time = integer({ min: 0, max: 1000 * hour });

test('the first attempt is in the last fifth of the validity of an answer, at most an hour before its end, and never in the past', () => {
  hold(
    property(time, time, random, (gathered, lifetime, chance) => {
      const ends = gathered + lifetime;
      const at = firstTry(gathered, ends, gathered, chance);
      return at >= gathered && at <= ends && ends - at <= Math.min(hour, lifetime / 5) + 1;
    }),
    { seed: 7 },
  );
  assert.equal(firstTry(5 * hour, 3 * hour, 0, 0.5), 5 * hour, 'expired evidence is due now');
});

test('the pauses after failures grow, up to a quarter of an hour', () => {
  assert.deepEqual(
    [1, 2, 3, 10, 1000].map((failures) => nextTry(0, failures, 0)),
    [7_500, 15_000, 30_000, 450_000, 450_000],
  );
});

test('roots are updated within a day, and within half of the time that is left', () => {
  hold(
    property(time, random, (left, chance) => {
      const at = nextRootUpdate(0, left, chance);
      return at >= 0 && at <= Math.min(24 * hour, left / 2);
    }),
    { seed: 7 },
  );
  assert.ok(nextRootUpdate(0, undefined, 0) >= 18 * hour);
});
