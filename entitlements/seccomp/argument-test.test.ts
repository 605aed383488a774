import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  argumentTest,
  complementTest,
  formatTest,
  intersectTests,
  passes,
  testWithin,
} from './argument-test.ts';

/** A small domain of 16-bit arguments: masks in the low byte make it possible to try all relevant values. */
const small = fc.record({
  low: fc.bigInt(0n, 255n),
  high: fc.bigInt(0n, 255n),
  mask: fc.bigInt(0n, 255n),
  value: fc.bigInt(0n, 255n),
});
const values = Array.from({ length: 512 }, (_, at) => BigInt(at));

describe('argument tests', () => {
  it('pass exactly the values that the definition says, and are empty only when there is none', () => {
    fc.assert(
      fc.property(small, ({ low, high, mask, value }) => {
        const test = argumentTest(0, 16, { low, high, mask, value: value & mask });
        const expected = values.filter((x) => x >= low && x <= high && (x & mask) === (value & mask));
        assert.deepEqual(test === undefined ? [] : values.filter((x) => passes(test, x)), expected);
        assert.equal(test === undefined, expected.length === 0);
        if (test !== undefined) assert.deepEqual([test.low, test.high], [expected[0], expected.at(-1)]);
      }),
      { numRuns: 500 },
    );
  });

  it('intersect, complement and contain as sets do', () => {
    fc.assert(
      fc.property(small, small, (first, second) => {
        const [a, b] = [first, second].map(({ low, high, mask, value }) =>
          argumentTest(0, 16, { low, high, mask, value: value & mask }),
        );
        if (a === undefined || b === undefined) return;
        const both = intersectTests(a, b);
        const outside = complementTest(a);
        for (const x of values) {
          assert.equal(both !== undefined && passes(both, x), passes(a, x) && passes(b, x));
          assert.equal(outside.filter((test) => passes(test, x)).length, passes(a, x) ? 0 : 1);
        }
        assert.equal(
          testWithin(a, b),
          values.every((x) => !passes(a, x) || passes(b, x)),
        );
      }),
      { numRuns: 300 },
    );
  });

  it('read only the bits that the kernel reads', () => {
    const family = argumentTest(0, 32, { low: 38n, high: 38n });
    assert.ok(family !== undefined);
    assert.ok(passes(family, 0x100000026n));
    const long = argumentTest(0, 64, { low: 38n, high: 38n });
    assert.ok(long !== undefined && !passes(long, 0x100000026n));
  });

  it('are described in words', () => {
    const texts = [
      argumentTest(0, 32, { low: 1n, high: 37n }),
      argumentTest(1, 64, { mask: 0x7e020000n, value: 0n }),
      argumentTest(2, 32, { low: 5n, high: 5n }),
      argumentTest(0, 32, { low: 3n, high: 99n, mask: 1n, value: 1n }),
    ].map((test) => (test === undefined ? '' : formatTest(test)));
    assert.deepEqual(texts, [
      'arg0 in 1…37',
      'arg1 & 0x7e020000 = 0',
      'arg2 = 5',
      'arg0 & 1 = 1 and arg0 in 3…99',
    ]);
  });
});
