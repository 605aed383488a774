import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { onDemand } from './on-demand.ts';
import { workerGone } from './worker-calls.ts';

function counted(): { started: number; ended: number; start: () => Promise<{ close(): Promise<void> }> } {
  const count = { started: 0, ended: 0, start: () => Promise.resolve(thing()) };
  const thing = (): { close(): Promise<void> } => {
    count.started += 1;
    return {
      close: () => {
        count.ended += 1;
        return Promise.resolve();
      },
    };
  };
  return count;
}

test('an object is started once, ended when idle, and started again', async () => {
  const count = counted();
  const thing = onDemand(20, count.start);
  assert.equal(count.started, 0);
  await Promise.all([thing.use(() => setTimeout(60)), thing.use(() => setTimeout(5))]);
  assert.deepEqual([count.started, count.ended], [1, 0]);
  for (let waited = 0; waited < 100 && count.ended === 0; waited++) await setTimeout(20);
  assert.deepEqual([count.started, count.ended], [1, 1]);
  await thing.use(() => Promise.resolve());
  assert.equal(count.started, 2);
  await thing.close();
  assert.equal(count.ended, 2);
  await assert.rejects(
    thing.use(() => Promise.resolve()),
    { code: 'KERNEL_WORKER_GONE' },
  );
});

test('a broken object is replaced at the next use, and a failed use keeps the object', async () => {
  const count = counted();
  const thing = onDemand(1000, count.start);
  await assert.rejects(thing.use(() => Promise.reject(new Error('of the use'))));
  await thing.use(() => Promise.resolve());
  assert.equal(count.started, 1);
  await assert.rejects(thing.use(() => Promise.reject(workerGone('it broke'))));
  await thing.use(() => Promise.resolve());
  assert.equal(count.started, 2);
  await thing.close();
});

test('ask neither starts the object nor keeps it running', async () => {
  const count = counted();
  const thing = onDemand(20, count.start);
  await thing.ask(() => Promise.reject(new Error('nobody is asked')));
  assert.equal(count.started, 0);
  await thing.use(() => Promise.resolve());
  await assert.rejects(thing.ask(() => Promise.reject(new Error('it is broken'))));
  for (let waited = 0; waited < 500 && count.ended === 0; waited++) {
    await thing.ask(() => Promise.resolve());
    await setTimeout(5);
  }
  assert.deepEqual([count.started, count.ended], [1, 1]);
  await thing.close();
});

test('rest ends the object unless it is in use, and the next use starts another one', async () => {
  const count = counted();
  const thing = onDemand(60_000, count.start);
  thing.rest();
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const use = thing.use(() => promise);
  thing.rest();
  await setTimeout(5);
  assert.deepEqual([count.started, count.ended], [1, 0]);
  resolve(undefined);
  await use;
  thing.rest();
  for (let waited = 0; waited < 100 && count.ended === 0; waited++) await setTimeout(5);
  assert.deepEqual([count.started, count.ended], [1, 1]);
  await thing.use(() => Promise.resolve());
  assert.equal(count.started, 2);
  await thing.close();
});
