import { execFileSync, spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { Worker } from 'node:worker_threads';
import { createThreadPool, startWorker } from './index.ts';
import type { Calls } from './thread.worker.fixture.ts';

// Run as an unprivileged user: the kernel lets root exceed this limit. `argv[2]`: milliseconds after which
// the kernel has threads again. `argv[3]`: how long a question may wait for one.
const [freeAfterMs = 0, openMs = 0] = process.argv.slice(2).map(Number);
// The threads that Node itself needs exist from here on.
await Promise.all(Array.from({ length: 8 }, () => stat(tmpdir())));
const own = String(process.pid);
const later = `sleep ${freeAfterMs / 1_000}; prlimit --pid ${own} --nproc=4096:`;
const helper = spawn('sh', ['-c', later], { stdio: 'ignore', detached: true });
const pool = createThreadPool<Calls, undefined>({
  start() {
    try {
      return new Worker(new URL('./thread.worker.fixture.ts', import.meta.url), { workerData: {} });
    } catch {
      return startWorker(import.meta.url, './none.worker.ts');
    }
  },
  memory: () => undefined,
  blame: { code: 'TEST_LATE', kind: 'unavailable', attempted: 'ask the thread', on: '', fix: 'try again' },
  ...{ most: 2, deadlineMs: 60_000, idleMs: 60_000, openMs },
});
execFileSync('prlimit', ['--pid', own, '--nproc=1:']);
const outcomes = await Promise.all(
  [1, 2, 3].map((value) =>
    pool.ask(`subject ${value}`, (caller) => caller.call('double', value)).then(String, String),
  ),
);
process.stdout.write(outcomes.join('\n'));
await pool.close();
if (helper.exitCode === null) process.kill(-(helper.pid ?? 0));
