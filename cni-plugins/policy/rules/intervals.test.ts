import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertNearLinear } from '../../../test/fixtures/cost.ts';
import { peersOf } from './grants.ts';
import { meet, union, without } from './intervals.ts';
import type { Intervals } from './intervals.ts';

const intervals: fc.Arbitrary<Intervals> = fc
  .array(fc.tuple(fc.bigInt(0n, 60n), fc.bigInt(0n, 6n)), { maxLength: 12 })
  .map((parts) => union(parts.map(([low, length]) => ({ low, high: low + length }))));
const holds = (some: Intervals, value: bigint): boolean =>
  some.some(({ low, high }) => low <= value && value <= high);
const values = Array.from({ length: 70 }, (_, index) => BigInt(index));

test('the difference and the intersection of intervals are correct for each value', () => {
  fc.assert(
    fc.property(intervals, intervals, (some, others) => {
      for (const value of values) {
        assert.equal(
          holds(without(some, others), value),
          holds(some, value) && !holds(others, value),
          `without ${value}`,
        );
        assert.equal(
          holds(meet(some, others), value),
          holds(some, value) && holds(others, value),
          `meet ${value}`,
        );
      }
      // The result is sorted and disjoint, with a gap between any two intervals, if the input has gaps.
      for (const made of [without(some, others), meet(some, others)])
        made.forEach(({ low, high }, index) =>
          assert.ok(low <= high && (index === 0 || (made[index - 1]?.high ?? 0n) < low)),
        );
    }),
    { numRuns: 2000 },
  );
});

test('a block costs in proportion to the holes that its author writes', async () => {
  const holes = (n: number): string[] =>
    Array.from(
      { length: n },
      (_, index) => `10.${(index >> 15) & 255}.${(index >> 7) & 255}.${(index & 127) * 2}/32`,
    );
  await assertNearLinear('exceptions of a block', (n) => peersOf(['10.0.0.0/8'], holes(n)), { n: 2000 });
});
