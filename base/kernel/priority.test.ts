import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import { raiseThreadPriority } from './index.ts';

/** Field 19 of proc_pid_stat(5). */
function nice(stat: string): number {
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]);
}

test('the thread is raised; what it starts is not', async () => {
  raiseThreadPriority(-5);
  assert.equal(nice(readFileSync('/proc/thread-self/stat', 'utf8')), -5);
  assert.equal(nice(execFileSync('cat', ['/proc/self/stat'], { encoding: 'utf8' })), 0);
  const worker = new Worker(
    "const { parentPort } = require('node:worker_threads'); parentPort.postMessage(require('node:fs').readFileSync('/proc/thread-self/stat', 'utf8'))",
    { eval: true },
  );
  const [stat] = (await once(worker, 'message')) as [string];
  assert.equal(nice(stat), 0);
});
