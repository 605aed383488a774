import { execFileSync, spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { createLayerPool } from './layer-pool.ts';

// Run as an unprivileged user: the kernel lets root exceed this limit. `argv[2]`: milliseconds after which
// the kernel has threads again. `argv[3]`: how long a job may wait for one.
const [freeAfterMs, startWaitMs] = process.argv.slice(2).map(Number);
// The threads that Node itself needs exist from here on.
await Promise.all(Array.from({ length: 8 }, () => stat(tmpdir())));
const pool = createLayerPool({ size: 1, ...(startWaitMs !== undefined && { startWaitMs }) });
const own = String(process.pid);
const later = `sleep ${(freeAfterMs ?? 0) / 1_000}; prlimit --pid ${own} --nproc=4096:`;
const helper = spawn('sh', ['-c', later], { stdio: 'ignore', detached: true });
execFileSync('prlimit', ['--pid', own, '--nproc=1:']);
const begin = performance.now();
const fd = openSync(tmpdir(), 'r');
const outcomes = await Promise.all(
  Array.from({ length: 5 }, () =>
    pool.sync(fd, tmpdir()).then(
      () => 'done',
      (thrown: unknown) => String(thrown),
    ),
  ),
);
process.stdout.write(JSON.stringify({ outcomes, ms: performance.now() - begin }));
await pool.close();
if (helper.exitCode === null) process.kill(-(helper.pid ?? 0));
