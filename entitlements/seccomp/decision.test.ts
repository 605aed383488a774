import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isPortcullisError } from '../../base/errors/index.ts';
import { argumentTest } from './argument-test.ts';
import type { ArgumentTest } from './argument-test.ts';
import { clause, matches, subtract } from './clause.ts';
import { decide, decision, exceeds, joinDecisions, meetDecisions } from './decision.ts';
import type { Decision } from './decision.ts';
import { rank, tighter, looser } from './outcome.ts';
import { arbitraries, boundaryArguments } from './fixtures/arbitrary-policy.ts';

/** Returns whether a grants no more than b. */
function within(a: Decision, b: Decision): boolean {
  return exceeds(b, a) === undefined;
}

function equal(a: Decision, b: Decision): boolean {
  return within(a, b) && within(b, a);
}

/** Random masks sometimes divide into too many cases, and are refused. This is not a counterexample. */
function unlessTooComplex(body: () => void): void {
  try {
    body();
  } catch (error) {
    if (!isPortcullisError(error) || error.code !== 'ENTITLEMENTS_TOO_COMPLEX') throw error;
  }
}

const random = arbitraries(fc);
const write = random.decision('write');
const socket = random.decision('socket');

describe('decisions', () => {
  it('meet and join pointwise, on every argument', () => {
    for (const arbitrary of [write, socket]) {
      fc.assert(
        fc.property(arbitrary, arbitrary, fc.array(random.args, { maxLength: 10 }), (a, b, samples) => {
          const [met, joined] = [meetDecisions(a, b), joinDecisions(a, b)];
          for (const args of [...samples, ...boundaryArguments(a), ...boundaryArguments(b)]) {
            assert.equal(decide(met, args), tighter(decide(a, args), decide(b, args)));
            assert.equal(decide(joined, args), looser(decide(a, args), decide(b, args)));
          }
        }),
        { numRuns: 300 },
      );
    }
  });

  it('form a lattice: meet is the greatest lower bound, join the least upper bound', () => {
    fc.assert(
      fc.property(write, write, write, (a, b, c) =>
        unlessTooComplex(() => {
          const [met, joined] = [meetDecisions(a, b), joinDecisions(a, b)];
          assert.ok(within(met, a) && within(met, b) && within(a, joined) && within(b, joined));
          if (within(c, a) && within(c, b)) assert.ok(within(c, met));
          if (within(a, c) && within(b, c)) assert.ok(within(joined, c));
          assert.ok(equal(meetDecisions(a, a), a) && equal(joinDecisions(a, a), a));
          assert.ok(equal(met, meetDecisions(b, a)) && equal(joined, joinDecisions(b, a)));
          assert.ok(equal(meetDecisions(a, joined), a) && equal(joinDecisions(a, met), a));
          assert.ok(equal(meetDecisions(meetDecisions(a, b), c), meetDecisions(a, meetDecisions(b, c))));
          assert.ok(
            equal(
              meetDecisions(a, joinDecisions(b, c)),
              joinDecisions(meetDecisions(a, b), meetDecisions(a, c)),
            ),
          );
        }),
      ),
      { numRuns: 300 },
    );
  });

  it('name arguments that show a difference', () => {
    fc.assert(
      fc.property(write, write, (outer, inner) => {
        const witness = exceeds(outer, inner);
        if (witness !== undefined) assert.ok(rank(decide(inner, witness)) > rank(decide(outer, witness)));
        else
          for (const args of boundaryArguments(inner))
            assert.ok(rank(decide(inner, args)) <= rank(decide(outer, args)));
      }),
      { numRuns: 500 },
    );
  });

  it('subtract clauses into disjoint ones', () => {
    fc.assert(
      fc.property(
        fc.array(random.clause('write'), { maxLength: 3 }),
        fc.array(random.args, { maxLength: 20 }),
        (remove, samples) => {
          unlessTooComplex(() => {
            const left = subtract([[]], remove);
            for (const args of samples) {
              const hit = remove.some((when) => matches(when, args));
              assert.equal(left.filter((when) => matches(when, args)).length, hit ? 0 : 1);
            }
          });
        },
      ),
      { numRuns: 300 },
    );
  });

  it('keep one of two clauses that say the same in different words', () => {
    const [plain, masked] = [
      { index: 1, width: 64, low: 0n, high: 1n, mask: 0n, value: 0n },
      { index: 1, width: 64, low: 0n, high: 1n, mask: 0x10000n, value: 0n },
    ].map((test) => decision('trap', [{ outcome: 'allow', when: [test as ArgumentTest] }]));
    assert.ok(plain !== undefined && masked !== undefined);
    assert.equal(decide(joinDecisions(plain, masked), [0n, 1n]), 'allow');
  });

  it('keep exact ranges: write arg0 > 2 met with arg0 < 100 is 3…99', () => {
    const [above, below] = [
      { low: 3n, high: undefined },
      { low: 0n, high: 99n },
    ].map(({ low, high }) => {
      const test = argumentTest(0, 64, { low, ...(high === undefined ? {} : { high }) });
      return decision('errno 1', [{ outcome: 'allow', when: clause(test === undefined ? [] : [test]) }]);
    });
    assert.ok(above !== undefined && below !== undefined);
    const met = meetDecisions(above, below);
    const allowed = Array.from({ length: 200 }, (_, at) => BigInt(at)).filter(
      (value) => decide(met, [value]) === 'allow',
    );
    assert.deepEqual([allowed[0], allowed.at(-1), allowed.length], [3n, 99n, 97]);
  });
});
