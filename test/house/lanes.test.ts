import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { idleProcessors, inLanes, interleave } from './lanes.ts';

/**
 * Works on ten items that each take ten looks at the processors. Returns the order, and the largest number in
 * work at a time.
 */
async function work(lanes: { least: number; most?: number; idle: () => number }) {
  const order: number[] = [];
  let [inWork, largest, looks] = [0, 0, 0];
  const items = Array.from({ length: 10 }, (_, index) => index);
  await inLanes(
    items,
    async (item) => {
      order.push(item);
      largest = Math.max(largest, ++inWork);
      for (const until = looks + 10; looks < until;) await pause(1);
      inWork--;
    },
    { ...lanes, idle: () => (looks++, lanes.idle()), everyMs: 2 },
  );
  return { order, largest };
}

const inOrder = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

describe('lanes', () => {
  it('work on the least number at a time while no processor is idle', async () => {
    assert.deepEqual(await work({ least: 2, most: 5, idle: () => 0.1 }), { order: inOrder, largest: 2 });
  });

  it('work on the largest number at a time while a processor is idle', async () => {
    assert.deepEqual(await work({ least: 2, most: 5, idle: () => 0.3 }), { order: inOrder, largest: 5 });
  });

  it('never exceed the least number without a largest number', async () => {
    assert.deepEqual(await work({ least: 3, idle: () => 2 }), { order: inOrder, largest: 3 });
  });

  it('end without items', async () => {
    await inLanes([], () => assert.fail(), { least: 3 });
  });

  it('begin later items when they can begin, merged with those that wait', async () => {
    const begun: string[] = [];
    const { promise: when, resolve } = Promise.withResolvers<void>();
    const note = async (item: string): Promise<void> => {
      begun.push(item);
      if (item === 'b') resolve();
      await pause(1);
    };
    await inLanes(['a', 'b', 'c', 'd'], note, { least: 1, later: { items: ['1', '2'], when } });
    assert.deepEqual(begun.join(''), 'abc1d2');
  });

  it('wait for later items if nothing else is left', async () => {
    const begun: number[] = [];
    const note = (item: number): Promise<void> => Promise.resolve(void begun.push(item));
    await inLanes([1], note, { least: 2, later: { items: [2, 3], when: pause(20) } });
    assert.deepEqual(begun, [1, 2, 3]);
  });

  it('begin no later items after a failure', async () => {
    const { promise: when, resolve } = Promise.withResolvers<void>();
    const begun: number[] = [];
    const failing = (item: number): Promise<void> => {
      begun.push(item);
      return Promise.reject(new Error(`item ${item}`));
    };
    await assert.rejects(inLanes([1], failing, { least: 1, later: { items: [2], when } }), /item 1/);
    resolve();
    await pause(20);
    assert.deepEqual(begun, [1]);
  });

  it('begin nothing after a failure', async () => {
    const begun: number[] = [];
    const failing = async (item: number): Promise<void> => {
      begun.push(item);
      await pause(5);
      throw new Error(`item ${item}`);
    };
    await assert.rejects(inLanes([1, 2, 3], failing, { least: 1 }), /item 1/);
    await pause(20);
    assert.deepEqual(begun, [1]);
  });
});

describe('the number of idle processors', () => {
  it('is at least zero, and at most the number of processors', async () => {
    const idle = idleProcessors();
    await pause(200);
    const measured = idle();
    // The kernel counts in steps of 10 ms.
    assert.ok(measured >= 0 && measured <= navigator.hardwareConcurrency * 1.1, String(measured));
  });
});

describe('two lists', () => {
  it('are merged so that both end together, each in its order', () => {
    assert.deepEqual(interleave(['a', 'b'], ['1', '2', '3', '4', '5', '6']).join(''), '1a234b56');
    assert.deepEqual(interleave([], ['1']), ['1']);
  });
});
