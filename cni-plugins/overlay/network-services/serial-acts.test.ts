import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { createSerialActs } from './serial-acts.ts';

test('an act begins after all earlier ones have ended, also after one that failed', async () => {
  const acts = createSerialActs();
  const order: string[] = [];
  const first = acts.run(async () => {
    await turn();
    order.push('first');
    throw new Error('it failed');
  });
  const second = acts.run(() => Promise.resolve(order.push('second')));
  await assert.rejects(first, /it failed/u);
  assert.equal(await second, 2);
  assert.deepEqual(order, ['first', 'second']);
});

test('a later act runs in its turn, but not after close', async () => {
  const acts = createSerialActs();
  const order: string[] = [];
  acts.later(1, () => Promise.reject(new Error(`${order.push('later')} is ignored`)));
  await sleep(20);
  assert.equal(await acts.run(() => Promise.resolve(order.join())), 'later');
  acts.later(1, () => Promise.resolve(order.push('too late')));
  acts.close();
  await sleep(20);
  assert.deepEqual(order, ['later']);
});
