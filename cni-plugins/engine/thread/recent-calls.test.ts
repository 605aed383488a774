import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRecentCalls } from './recent-calls.ts';

test('many calls count as over once, one second after the last of them', (context) => {
  let now = 5000;
  context.mock.method(performance, 'now', () => now);
  const calls = createRecentCalls();
  for (let count = 0; count < 33; count += 1) calls.note();
  assert.equal(calls.lastAt(), 5000);
  now += 1000;
  assert.equal(calls.areOver(now), false);
  now += 1;
  assert.equal(calls.areOver(now), true);
  assert.equal(calls.areOver(now), false);
});

test('a few calls never count as over', () => {
  const calls = createRecentCalls();
  for (let count = 0; count < 32; count += 1) calls.note();
  assert.equal(calls.areOver(Infinity), false);
});
