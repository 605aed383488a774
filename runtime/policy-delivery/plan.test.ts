import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PolicyRelease } from '../../trust/policy-release/index.ts';
import { planFor } from './plan.ts';
import { firstPause, pauseBefore } from './schedule.ts';
import { stalenessAt } from './staleness.ts';
import { emptyState, withHalted } from './state.ts';
import type { DeliveryState, HaltedRelease } from './state.ts';

const node = { name: 'n', labels: {} };
const release = (number: number, more: Partial<PolicyRelease> = {}): PolicyRelease => ({
  ...{ channel: 'stable', number, sha256: `${number}`, length: 10, revision: '', stages: [], reached: 1 },
  ...{ halt: { denials: 1, watch: 600 }, withdrawn: false },
  ...more,
});
const having = (number: number, halted: readonly HaltedRelease[] = []): DeliveryState => ({
  ...{ ...emptyState, halted },
  active: { ...release(number), since: '2026-01-01T00:00:00Z', policyRevision: 'r' },
});
const halted = (number: number, when: 'before' | 'after'): HaltedRelease => ({
  ...{ number, sha256: `${number}`, at: '', when, denials: [], count: 1 },
});
const canary = { stages: [{ name: 'canary', labels: { a: 'b' } }] };

test('a node uses the newest release that is for it', () => {
  const two = [release(2), release(1)];
  assert.deepEqual(planFor(two, emptyState, node), { do: 'take', release: release(2), must: true });
  assert.deepEqual(planFor(two, having(1), node), { do: 'take', release: release(2), must: false });
  assert.deepEqual(planFor(two, having(2), node), { do: 'keep' });
  assert.deepEqual(planFor([release(2, canary), release(1)], having(1), node), { do: 'keep' });
  assert.deepEqual(planFor([], emptyState, node), { do: 'keep' });
});

test('a node that lost its label keeps its newer release', () => {
  assert.deepEqual(planFor([release(2, canary), release(1)], having(2), node), { do: 'keep' });
});

test('a halted release is tried again only if it was never in force', () => {
  const two = [release(2), release(1)];
  assert.equal(planFor(two, having(1, [halted(2, 'before')]), node).do, 'take');
  assert.equal(planFor(two, having(1, [halted(2, 'after')]), node).do, 'keep');
});

test('releases that were never in force do not displace the record of a release that the node left', () => {
  let state = having(1, [halted(2, 'after')]);
  for (let number = 3; number < 15; number += 1) state = withHalted(state, halted(number, 'before'));
  assert.deepEqual(planFor([release(2), release(1)], state, node), { do: 'keep' });
  assert.equal(state.halted[0]?.number, 14);
});

test('a withdrawn release is left, also if the only other release was halted, or if there is none', () => {
  const gone = release(2, { withdrawn: true });
  assert.deepEqual(planFor([gone, release(1)], having(2), node), {
    do: 'take',
    release: release(1),
    must: true,
  });
  const other = [release(3), gone];
  assert.deepEqual(planFor(other, having(2, [halted(3, 'after')]), node), {
    ...{ do: 'take', release: release(3), must: true },
  });
  assert.deepEqual(planFor([gone], having(2), node), { do: 'leave' });
  assert.deepEqual(
    planFor([release(1, { sha256: 'x' })], having(1), node).do,
    'take',
    'other files with the same number',
  );
});

test('pauses vary, grow with failures, and follow the request of the server', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1000, max: 86_400_000 }),
      fc.integer({ min: 0, max: 1000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.option(fc.integer({ min: 0, max: 1e12 }), { nil: undefined }),
      (intervalMs, failures, random, askedMs) => {
        const pause = pauseBefore({ intervalMs, failures, random, askedMs });
        assert.ok(pause >= intervalMs * 0.49 && pause <= 1.2 * 86_400_000 + 1, `${pause}`);
        if (askedMs !== undefined) assert.ok(pause >= Math.min(askedMs, 86_400_000) - 1);
        assert.ok(firstPause(intervalMs, false, random) <= 60_000);
      },
    ),
  );
  assert.equal(firstPause(300_000, true, 0.9), 0);
});

test('staleness begins at the expiry, and an unreadable time counts as expired', () => {
  const at = new Date('2026-01-02T00:00:00Z');
  const rule = { onStale: 'deny', previouslyAdmittedFor: 60 } as const;
  assert.equal(stalenessAt(rule, undefined, at).isStale, false);
  assert.equal(stalenessAt(rule, '2026-01-02T00:00:01Z', at).isStale, false);
  assert.equal(stalenessAt(rule, '2026-01-02T00:00:00Z', at).limit?.refuses, 'everything');
  assert.equal(stalenessAt(rule, 'soon', at).limit?.refuses, 'everything');
  const admitted = { ...rule, onStale: 'previouslyAdmitted' } as const;
  assert.equal(stalenessAt(admitted, '2026-01-01T23:59:30Z', at).limit?.refuses, 'new');
  assert.equal(stalenessAt(admitted, '2026-01-01T23:58:00Z', at).limit?.refuses, 'everything');
  assert.equal(stalenessAt({ ...rule, onStale: 'keep' }, '2020-01-01T00:00:00Z', at).limit, undefined);
});
