import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSlots } from './slots.ts';

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

test('acts run in turn, and each returns its own result', async () => {
  const slots = createSlots(1, 60_000);
  const order: string[] = [];
  const first = slots.run(async () => {
    await Promise.resolve();
    order.push('first');
    throw new Error('of the first');
  });
  const second = slots.run(() => Promise.resolve(order.push('second')));
  assert.equal(slots.count(), 2);
  await assert.rejects(first, /of the first/);
  assert.equal(await second, 2);
  assert.deepEqual(order, ['first', 'second']);
});

test('a finished act leaves no timer that keeps the process alive', async () => {
  const slots = createSlots(2, 600_000);
  const before = timers();
  await Promise.all([
    slots.run(() => Promise.resolve()),
    slots.run(() => Promise.reject(new Error('no'))).catch(() => undefined),
  ]);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(timers(), before);
});

test('an act that takes too long releases its slot', async () => {
  const slots = createSlots(1, 20);
  const slow = Promise.withResolvers<string>();
  const first = slots.run(() => slow.promise);
  assert.equal(await slots.run(() => Promise.resolve('second')), 'second');
  slow.resolve('first');
  assert.equal(await first, 'first');
});

test('an act that throws at once fails like any other, and releases its slot', async () => {
  const slots = createSlots(1, 60_000);
  const first = slots.run(() => {
    throw new Error('at once');
  });
  await assert.rejects(first, /at once/);
  assert.equal(await slots.run(() => Promise.resolve('second')), 'second');
});
