import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compared, createWaitingClaims } from './waiting-claims.ts';
import type { Claimant } from './waiting-claims.ts';

const key = '4 tcp 192.0.2.1 80';
const old: Claimant = { name: 'b', rank: 1, createdAt: 1 };
const young: Claimant = { name: 'a', rank: 1, createdAt: 2 };

for (const [what, better, worse] of [
  ['the better rank', { name: 'b', rank: 0, createdAt: 2 }, { name: 'a', rank: 1, createdAt: 1 }],
  ['the older of two services of the same rank', old, young],
  ['a known age', young, { name: 'A', rank: 1 }],
  ['the first by name of two services without an age', { name: 'a', rank: 1 }, { name: 'b', rank: 1 }],
] satisfies (readonly [string, Claimant, Claimant])[])
  test(`${what} has the better claim`, () => {
    assert.ok(compared(better, worse) < 0);
    assert.ok(compared(worse, better) > 0);
  });

test('the best claim among the services that may have the key is next, in any order of arrival', () => {
  for (const order of [
    [old, young],
    [young, old],
  ]) {
    const waiting = createWaitingClaims();
    for (const each of order) waiting.add(key, each);
    assert.equal(waiting.best(key), old);
    assert.equal(
      waiting.best(key, (name) => name !== old.name),
      young,
    );
  }
});

test('a service that waits for several keys counts once, until it waits for none', () => {
  const waiting = createWaitingClaims();
  waiting.add(key, old);
  waiting.add('4 tcp 192.0.2.1 443', old);
  assert.equal(waiting.services(), 1);
  waiting.delete(key, old.name);
  assert.deepEqual([waiting.services(), waiting.best(key)], [1, undefined]);
  waiting.delete('4 tcp 192.0.2.1 443', old.name);
  assert.equal(waiting.services(), 0);
});
