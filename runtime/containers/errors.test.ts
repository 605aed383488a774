import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notRunning } from './errors.ts';
import type { ContainerPhase, ContainerRecord } from './record.ts';

/** Returns why a command cannot run in a container of this phase, and what to do. */
const advice = (phase: ContainerPhase): readonly string[] => {
  const { why, fix } = notRunning({ id: 'c1', phase } as ContainerRecord, 'run a command in').failure;
  return [why, fix];
};

test('only a container that can still be started is said to need a start', () => {
  assert.deepEqual(advice('created'), ['it is created', 'start it first']);
  assert.deepEqual(advice('exited'), ['it is exited', 'create a new container']);
  assert.deepEqual(advice('removing'), ['it is being removed', 'create a new container']);
});
