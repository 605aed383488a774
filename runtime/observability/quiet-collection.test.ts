import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import type { StartedCall } from '../cri/observe.ts';
import { openQuietCollection } from './quiet-collection.ts';

const log = createLogger({ level: 'silent' });
const call = (readsOnly: boolean): StartedCall => ({
  rpc: 'Any',
  service: 'runtime.v1.RuntimeService',
  readsOnly,
  requestId: '1',
  peer: undefined,
  header: () => undefined,
});
const done = { code: 0, milliseconds: 1 };

test('memory is given back once after a busy time', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let collected = 0;
  const collection = openQuietCollection(log, (() => (collected += 1)) as unknown as typeof globalThis.gc);
  collection.atStart();
  t.mock.timers.tick(19_999);
  assert.equal(collected, 0);
  t.mock.timers.tick(1);
  t.mock.timers.tick(60_000);
  assert.equal(collected, 2);
  const [first, second] = [collection.calls.begin(call(false)), collection.calls.begin(call(false))];
  first?.end(done);
  t.mock.timers.tick(60_000);
  assert.equal(collected, 2);
  second?.end(done);
  // A read-only call does not delay it.
  collection.calls.begin(call(true)).end(done);
  t.mock.timers.tick(19_999);
  assert.equal(collected, 2);
  t.mock.timers.tick(1);
  t.mock.timers.tick(60_000);
  assert.equal(collected, 4);
  collection.calls.begin(call(false)).end(done);
  collection.close();
  t.mock.timers.tick(60_000);
  assert.equal(collected, 4);
});

test('in a busy time memory is given back every five minutes', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 1_000;
  t.mock.method(performance, 'now', () => now);
  let [collected, trimmed] = [0, 0];
  const collection = openQuietCollection(log, (() => (collected += 1)) as unknown as typeof globalThis.gc, {
    trim: () => (trimmed += 1),
    fixThresholds: () => undefined,
  });
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
    assert.deepEqual([collected, trimmed], [expected, expected], `minute ${minute}`);
  }
  pending.end(done);
  collection.close();
});

test('without the collector nothing is done', () => {
  const collection = openQuietCollection(log, undefined);
  collection.atStart();
  collection.calls.begin(call(false)).end(done);
  collection.close();
});

test('the thresholds of the C library are fixed at the end of the start, not before', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const fixed: number[][] = [];
  const collection = openQuietCollection(log, (() => undefined) as unknown as typeof globalThis.gc, {
    trim: () => undefined,
    fixThresholds: (...given) => void fixed.push(given),
  });
  assert.deepEqual(fixed, []);
  collection.atStart();
  assert.deepEqual(fixed, [[262_144, 4_194_304]]);
  collection.close();
});
