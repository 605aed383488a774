import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { MessageChannel } from 'node:worker_threads';
import { collectWhenQuiet } from './idle-thread-collection.ts';

const quiet = 300;

/** Opens a port whose quiet times are recorded. */
function openPort(every: number) {
  const { port1, port2 } = new MessageChannel();
  const flavors: (string | undefined)[] = [];
  const gc = (options?: { flavor?: string }): void => void flavors.push(options?.flavor);
  const isWork = (message: unknown): boolean => message !== 'look';
  collectWhenQuiet(port1, isWork, { quiet, every, gc: gc as typeof globalThis.gc });
  const say = async (message = ''): Promise<void> => {
    const received = once(port1, 'message');
    port2.postMessage(message);
    await received;
  };
  return { flavors, say, [Symbol.dispose]: () => port1.close() };
}

test('garbage is collected once after each busy time, and not while messages arrive', async () => {
  using port = openPort(0);
  for (let sent = 0; sent < 10; sent += 1) {
    await port.say();
    await pause(quiet / 10);
  }
  assert.deepEqual(port.flavors, []);
  await pause(4 * quiet);
  assert.deepEqual(port.flavors, ['last-resort']);
  await port.say();
  await pause(4 * quiet);
  assert.deepEqual(port.flavors, ['last-resort', 'regular']);
});

test('a second collection waits for its time, also if no further message arrives', async () => {
  using port = openPort(6 * quiet);
  await pause(2 * quiet);
  assert.equal(port.flavors.length, 1);
  await port.say();
  await pause(3 * quiet);
  assert.equal(port.flavors.length, 1);
  await pause(4 * quiet);
  assert.equal(port.flavors.length, 2);
});

test('messages that are no work do not put a collection off', async () => {
  using port = openPort(0);
  for (let sent = 0; sent < 30 && port.flavors.length === 0; sent += 1) {
    await port.say('look');
    await pause(quiet / 10);
  }
  assert.deepEqual(port.flavors, ['last-resort']);
});
