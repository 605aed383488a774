import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { brokenLives, checkPlanted, checkSound } from './checks.ts';
import { splitRun } from './split.ts';
import { withoutTlc } from './tlc.ts';

describe('the specification of the lifecycle', { skip: withoutTlc() }, () => {
  it('explains valid lifecycles', () => void checkSound());
  it('does not explain any of the planted deviations', () => void checkPlanted());
  it('has safety and liveness properties that an error violates', () => {
    const checks = brokenLives({ quick: true });
    assert.ok(checks.length >= 3);
    for (const check of checks) check();
  });
});

describe('a trace without an event', () => {
  it('fails, because a check of nothing proves nothing', () => {
    assert.throws(() => splitRun({ source: 'nobody', machine: false, events: [] }), /is empty/);
  });
});
