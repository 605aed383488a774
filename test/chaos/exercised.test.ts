import assert from 'node:assert/strict';
import { test } from 'node:test';
import { neverExercised } from './exercised.ts';

test('a kind is reported if each of its many tries misses', () => {
  const kinds = [
    { kind: 'faults', tries: 75, hits: 0 },
    { kind: 'kills of monitor', tries: 42, hits: 1 },
  ];
  assert.deepEqual(neverExercised(kinds), ['faults: none of 75 tries hit anything']);
});

test('a kind with few tries is not reported, because the result can be chance', () => {
  assert.deepEqual(neverExercised([{ kind: 'reads', tries: 4, hits: 0 }]), []);
});

test('a run that tried nothing is reported', () => {
  assert.deepEqual(neverExercised([]), ['the run tried nothing']);
  assert.deepEqual(neverExercised([{ kind: 'reads', tries: 0, hits: 0 }]), ['the run tried nothing']);
});
