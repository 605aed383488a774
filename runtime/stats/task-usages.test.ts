import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { ContainerRecord } from '../containers/record.ts';
import type { TaskUsage } from '../shim/task-metrics.ts';
import { createTaskUsages } from './task-usages.ts';

const record = (id: string): ContainerRecord => ({ id }) as unknown as ContainerRecord;
const usage = (cpuNs: number): TaskUsage => ({
  cpuNs,
  memoryBytes: 10,
  inactiveFileBytes: 1,
  rssBytes: 2,
  pageFaults: 3,
  majorPageFaults: 4,
  tasks: 5,
});

test('a container that its shim measures has this usage, and a rate after two samples', async () => {
  let cpuNs = 1e9;
  const read = createTaskUsages(({ id }) => (id === 'plain' ? undefined : Promise.resolve(usage(cpuNs))));
  const records = [record('guest'), record('plain')];
  const first = await read(records);
  assert.deepEqual([...first.keys()], ['guest']);
  assert.equal(first.get('guest')?.cpu?.usageNs, 1e9);
  assert.equal(first.get('guest')?.cpu?.nanoCores, undefined);
  await pause(600);
  cpuNs = 1.3e9;
  const rate = (await read(records)).get('guest')?.cpu?.nanoCores ?? 0;
  // A third of a second of processor time in 0.6 s or, on a busy machine, in more.
  assert.ok(rate > 0 && rate <= 0.5e9, String(rate));
  assert.equal((await read(records)).get('guest')?.cpu?.nanoCores, rate, 'too early for another sample');
});

test('a clock that is set back does not stop the rate', async (t) => {
  let cpuNs = 1e9;
  const read = createTaskUsages(() => Promise.resolve(usage(cpuNs)));
  await read([record('guest')]);
  t.mock.method(Date, 'now', () => 1_000);
  await pause(600);
  cpuNs = 1.3e9;
  assert.ok(((await read([record('guest')])).get('guest')?.cpu?.nanoCores ?? 0) > 0);
});

test('a shim that does not answer leaves its container without usage', async () => {
  const read = createTaskUsages(() => Promise.reject(new Error('no answer')));
  const found = await read([record('guest')]);
  assert.ok(found.has('guest'));
  assert.equal(found.get('guest'), undefined);
});
