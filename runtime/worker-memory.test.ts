import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { collectWorkersEarly } from './worker-memory.ts';

/** Releases 48 MB, one megabyte at a time. V8 puts none of it where collection is cheap. */
const littering = `
  const { parentPort } = require('node:worker_threads');
  const { PerformanceObserver, constants } = require('node:perf_hooks');
  let collections = 0;
  const count = (list) => {
    for (const { detail } of list.getEntries()) if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections += 1;
  };
  const observer = new PerformanceObserver(count);
  observer.observe({ entryTypes: ['gc'] });
  let last;
  for (let index = 0; index < 48; index += 1) last = new Array(131_072).fill(index);
  setTimeout(() => {
    count({ getEntries: () => observer.takeRecords() });
    parentPort.postMessage(collections);
  }, 200);
`;

test('a Worker’s garbage is collected before its heap has 48 MB', async () => {
  // The same flag with which the launcher starts the daemon.
  setFlagsFromString('--initial-old-space-size=64');
  collectWorkersEarly();
  const worker = new Worker(littering, { eval: true });
  const [collections] = (await once(worker, 'message')) as [number];
  assert.ok(collections > 0, `${collections} full collections`);
});

/** Keeps each object for a while, so that V8 gives new objects as much memory as it may. */
const keeping = `
  const { parentPort } = require('node:worker_threads');
  const { getHeapSpaceStatistics } = require('node:v8');
  const kept = [];
  const sizes = [];
  for (let index = 0; index < 3_000_000; index += 1) {
    kept[index % 100_000] = { index };
    if (index % 10_000 > 0) continue;
    sizes.push(getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space').space_size);
  }
  parentPort.postMessage(sizes);
`;

// V8 has more for a moment while its collecting threads wait for a processor: the largest size says little.
test('a Worker’s new objects usually use at most 5 MB', async () => {
  // The same flag with which the launcher starts the daemon.
  setFlagsFromString('--max-semi-space-size=4');
  collectWorkersEarly();
  const [sizes] = (await once(new Worker(keeping, { eval: true }), 'message')) as [number[]];
  const median = sizes.toSorted((a, b) => a - b)[sizes.length / 2] ?? Infinity;
  assert.ok(median <= 5 * 1024 * 1024, `${median} bytes`);
});
