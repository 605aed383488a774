import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sinceOf } from './since-option.ts';

const now = Date.parse('2026-11-20T10:00:00Z');

describe('--since', () => {
  for (const [text, time] of [
    ['90m', '2026-11-20T08:30:00.000Z'],
    ['1h30m', '2026-11-20T08:30:00.000Z'],
    ['7d', '2026-11-13T10:00:00.000Z'],
    ['2026-11-20T10:00:00+02:00', '2026-11-20T08:00:00.000Z'],
    ['2026-11-20T08:00:00.123456789Z', '2026-11-20T08:00:00.123Z'],
    ['2026-11-20', '2026-11-20T00:00:00.000Z'],
  ] as const)
    it(`${text} is ${time}`, () => assert.equal(sinceOf(text, now), time));

  for (const text of ['10', '', 'h', '-5m', 'yesterday', '2026', '2026-13-40', '1.5h', 'Nov 20 2026'])
    it(`${JSON.stringify(text)} is neither a time nor a period`, () =>
      assert.throws(() => sinceOf(text, now), /It must be a time such as/u));
});
