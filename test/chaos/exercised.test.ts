import assert from 'node:assert/strict';
import { test } from 'node:test';
import { neverExercised } from './exercised.ts';

test('a kind of which none of many tries hit anything is reported', () => {
  const kinds = [
    { kind: 'faults', tries: 75, hits: 0 },
    { kind: 'kills of monitor', tries: 42, hits: 1 },
  ];
  assert.deepEqual(neverExercised(kinds), ['faults: none of 75 tries hit anything']);
});

test('few tries without a hit are taken for chance', () => {
  assert.deepEqual(neverExercised([{ kind: 'reads', tries: 4, hits: 0 }]), []);
});

test('a run that tried nothing is reported', () => {
  assert.deepEqual(neverExercised([]), ['the run tried nothing']);
  assert.deepEqual(neverExercised([{ kind: 'reads', tries: 0, hits: 0 }]), ['the run tried nothing']);
});
