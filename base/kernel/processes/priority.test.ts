import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import { makeThreadPrompt, raiseThreadPriority } from '../index.ts';

/** Fields 19 and 41 of proc_pid_stat(5). */
function scheduling(stat: string): { readonly nice: number; readonly policy: number } {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { nice: Number(fields[16]), policy: Number(fields[38]) };
}

const usual = { nice: 0, policy: 0 };

/** Returns the scheduling of a child and a Worker of this thread. */
async function started(): Promise<readonly object[]> {
  const child = scheduling(execFileSync('cat', ['/proc/self/stat'], { encoding: 'utf8' }));
  const worker = new Worker(
    "const { parentPort } = require('node:worker_threads'); parentPort.postMessage(require('node:fs').readFileSync('/proc/thread-self/stat', 'utf8'))",
    { eval: true },
  );
  const [stat] = (await once(worker, 'message')) as [string];
  return [child, scheduling(stat)];
}

test('the priority of a thread is raised, but not of what it starts', async () => {
  raiseThreadPriority(-5);
  assert.deepEqual(scheduling(readFileSync('/proc/thread-self/stat', 'utf8')), { nice: -5, policy: 0 });
  assert.deepEqual(await started(), [usual, usual]);
});

test('a thread becomes real-time, but not what it starts', async (t) => {
  try {
    makeThreadPrompt();
  } catch (error) {
    assert.equal((error as { code?: unknown }).code, 'KERNEL_EPERM');
    return t.skip('real-time threads are not available here');
  }
  assert.equal(scheduling(readFileSync('/proc/thread-self/stat', 'utf8')).policy, 2);
  assert.deepEqual(await started(), [usual, usual]);
});
