import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import type { StartedCall } from '../cri/observe.ts';
import { openQuietCollection } from './idle-collection.ts';

const log = createLogger({ level: 'silent' });
const call = (readsOnly: boolean, rpc = 'Any'): StartedCall => ({
  rpc,
  service: 'runtime.v1.RuntimeService',
  readsOnly,
  requestId: '1',
  peer: undefined,
  header: () => undefined,
});
const done = { code: 0, milliseconds: 1 };

/** Counts the returns of memory. */
function counting() {
  const count = {
    collected: 0,
    trimmed: 0,
    unmapped: 0,
    rested: 0,
    restedForPull: 0,
    fixed: [] as number[][],
  };
  const sources = {
    fixThresholds: (...given: number[]) => void count.fixed.push(given),
    trim: () => void (count.trimmed += 1),
    unmap: () => void (count.unmapped += 1),
    rest: () => void (count.rested += 1),
    restForPull: (isFirst: boolean) => void (count.restedForPull += isFirst ? 1 : 0),
  };
  const gc = (() => void (count.collected += 1)) as unknown as typeof globalThis.gc;
  return { count, open: () => openQuietCollection(log, sources, gc) };
}

test('memory is returned once after a busy time', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { count, open } = counting();
  const collection = open();
  const [first, second] = [collection.calls.begin(call(false)), collection.calls.begin(call(false))];
  first?.end(done);
  t.mock.timers.tick(60_000);
  assert.equal(count.collected, 0);
  second?.end(done);
  // A read-only call does not delay it.
  collection.calls.begin(call(true)).end(done);
  t.mock.timers.tick(19_999);
  assert.equal(count.collected, 0);
  t.mock.timers.tick(1);
  t.mock.timers.tick(60_000);
  assert.deepEqual([count.collected, count.trimmed, count.unmapped], [2, 1, 1]);
  collection.calls.begin(call(false)).end(done);
  collection.close();
  t.mock.timers.tick(60_000);
  assert.equal(count.collected, 2);
  assert.equal(count.rested, 0);
});

test('memory that only the start needed is returned half a second after the start', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { count, open } = counting();
  const collection = open();
  collection.atStart(true);
  t.mock.timers.tick(499);
  assert.deepEqual([count.rested, count.collected], [0, 0]);
  t.mock.timers.tick(1);
  // The Workers get time to end, so that their memory is returned with the rest.
  assert.deepEqual([count.rested, count.collected], [1, 0]);
  t.mock.timers.tick(300);
  assert.deepEqual([count.collected, count.trimmed, count.unmapped], [1, 1, 2]);
  t.mock.timers.tick(60_000);
  assert.deepEqual([count.rested, count.collected], [1, 1]);
  collection.close();
});

test('memory that only the start needed is returned at once on a node without pods, and again later', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { count, open } = counting();
  const collection = open();
  collection.atStart(false);
  assert.deepEqual([count.collected, count.trimmed, count.unmapped], [1, 1, 1]);
  for (const milliseconds of [500, 300, 60_000]) t.mock.timers.tick(milliseconds);
  assert.deepEqual([count.rested, count.collected], [1, 2]);
  collection.close();
});

test('a call that changes something delays the return of memory after the start', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { count, open } = counting();
  const collection = open();
  const early = collection.calls.begin(call(false));
  collection.atStart(true);
  t.mock.timers.tick(30_000);
  early.end(done);
  t.mock.timers.tick(499);
  const late = collection.calls.begin(call(false));
  t.mock.timers.tick(30_000);
  assert.deepEqual([count.rested, count.collected], [0, 0]);
  late.end(done);
  t.mock.timers.tick(500);
  assert.equal(count.rested, 1);
  collection.close();
});

test('a call just before the collection after the start puts it off', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const early = [500, 299];
  const { count, open } = counting();
  const collection = open();
  collection.atStart(true);
  for (const milliseconds of early) t.mock.timers.tick(milliseconds);
  collection.calls.begin(call(false)).end(done);
  for (const milliseconds of early) t.mock.timers.tick(milliseconds);
  assert.equal(count.collected, 0);
  t.mock.timers.tick(1);
  assert.equal(count.collected, 1);
  collection.close();

  const other = counting();
  const pulled = other.open();
  pulled.atStart(true);
  for (const milliseconds of early) t.mock.timers.tick(milliseconds);
  pulled.calls.begin(call(false, 'PullImage')).end(done);
  t.mock.timers.tick(50);
  assert.equal(other.count.collected, 1);
  pulled.close();
});

test('in a busy time, memory is returned every five minutes', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 1_000;
  t.mock.method(performance, 'now', () => now);
  const { count, open } = counting();
  const collection = open();
  const pending = collection.calls.begin(call(false));
  for (const [minute, expected] of [
    [1, 0],
    [5, 0],
    [6, 1],
    [7, 1],
    [12, 2],
  ] as const) {
    now = 1_000 + minute * 60_000;
    collection.calls.begin(call(false)).end(done);
    assert.deepEqual([count.collected, count.trimmed], [expected, expected], `minute ${minute}`);
  }
  pending.end(done);
  collection.close();
});

test('in a busy time, pages of the program are unmapped every two seconds', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 1_000;
  t.mock.method(performance, 'now', () => now);
  const { count, open } = counting();
  const collection = open();
  const pending = collection.calls.begin(call(false));
  for (const [at, expected] of [
    [2_999, 0],
    [3_001, 1],
    [4_000, 1],
    [5_002, 2],
  ] as const) {
    now = at;
    collection.calls.begin(call(false)).end(done);
    assert.equal(count.unmapped, expected, `at ${at} ms`);
  }
  assert.equal(count.collected, 0);
  pending.end(done);
  collection.close();
});

test('a pull before the first quiet time returns the memory that the start left, once', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { count, open } = counting();
  const collection = open();
  collection.atStart(true);
  const pull = collection.calls.begin(call(false, 'PullImage'));
  // The Workers get time to end.
  assert.deepEqual([count.restedForPull, count.collected], [1, 0]);
  t.mock.timers.tick(50);
  assert.deepEqual([count.collected, count.trimmed], [1, 1]);
  pull.end(done);
  collection.calls.begin(call(false, 'PullImage')).end(done);
  t.mock.timers.tick(19_000);
  assert.deepEqual([count.restedForPull, count.rested, count.collected], [1, 0, 1]);
  collection.close();
});

test('pages of the program are unmapped ten times a second while an image is pulled', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { count, open } = counting();
  const collection = open();
  const [first, second] = [1, 2].map(() => collection.calls.begin(call(false, 'PullImage')));
  t.mock.timers.tick(1_000);
  assert.equal(count.unmapped, 10);
  first?.end(done);
  t.mock.timers.tick(1_000);
  assert.equal(count.unmapped, 20);
  second?.end(done);
  t.mock.timers.tick(1_000);
  assert.equal(count.unmapped, 20);
  collection.close();
});

test('without the garbage collector, no memory is returned', () => {
  const rest = (): void => assert.fail('a Worker ends');
  const collection = openQuietCollection(log, { rest, restForPull: rest }, undefined);
  collection.atStart(true);
  collection.calls.begin(call(false)).end(done);
  collection.close();
});

test('the thresholds of the C library are fixed at the end of the start, not before', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { count, open } = counting();
  const collection = open();
  assert.deepEqual(count.fixed, []);
  collection.atStart(true);
  assert.deepEqual(count.fixed, [[262_144, 4_194_304]]);
  collection.close();
});
