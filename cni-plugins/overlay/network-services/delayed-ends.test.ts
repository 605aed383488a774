import assert from 'node:assert/strict';
import { once, EventEmitter } from 'node:events';
import { afterEach, beforeEach, test } from 'node:test';
import { createDelayedEnds } from './delayed-ends.ts';
import type { DelayedEnds } from './delayed-ends.ts';
import { createSerialActs } from './serial-acts.ts';
import type { SerialActs } from './serial-acts.ts';

let acts: SerialActs;
let ends: DelayedEnds;
let attempts: string[];
let failures: number;
const changes = new EventEmitter();

beforeEach(() => {
  acts = createSerialActs();
  attempts = [];
  failures = 0;
  const end = (service: string): Promise<void> => {
    attempts.push(service);
    changes.emit('attempt');
    if (failures === 0) return Promise.resolve();
    failures -= 1;
    return Promise.reject(new Error('etcd does not answer'));
  };
  ends = createDelayedEnds(acts, end, { endAfterMs: 10, retryMs: 10 });
});
afterEach(() => acts.close());

async function attempted(count: number): Promise<void> {
  while (attempts.length < count) await once(changes, 'attempt');
}

test('each service ends once', async () => {
  ends.add('web');
  ends.add('web');
  ends.add('api');
  await attempted(2);
  ends.add('last');
  await attempted(3);
  assert.deepEqual(attempts, ['web', 'api', 'last']);
});

test('a failed end is tried again until it succeeds, and delays the ends that are due after it', async () => {
  failures = 3;
  ends.add('web');
  ends.add('api');
  await attempted(5);
  ends.add('last');
  await attempted(6);
  assert.deepEqual(attempts, ['web', 'web', 'web', 'web', 'api', 'last']);
});
