import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

// This runs in a separate process, because a failure aborts the process.
const run = (program: string): Promise<{ stdout: string }> =>
  promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { timeout: 60_000 });
const start = `
  import { once } from 'node:events';
  import { startWorker } from ${JSON.stringify(import.meta.resolve('../process/index.ts'))};
  const begin = () => startWorker(${JSON.stringify(import.meta.url)}, './binding.worker.fixture.ts');`;

test(
  'a Worker that is terminated in native code does not abort the process',
  { timeout: 90_000 },
  async () => {
    const { stdout } = await run(`${start}
    for (let round = 0; round < 30; round += 1) {
      const worker = begin();
      await once(worker, 'message');
      await new Promise((resolve) => setTimeout(resolve, round / 10));
      await worker.terminate();
    }
    console.log('served');`);
    assert.equal(stdout, 'served\n');
  },
);

test(
  'a process that ends while its Workers are in native code ends with its own exit code',
  { timeout: 90_000 },
  async () => {
    for (let round = 0; round < 5; round += 1) {
      const ended = run(`${start}
      const workers = [begin(), begin(), begin()];
      await Promise.all(workers.map((worker) => once(worker, 'message')));
      process.exit(4);`);
      await assert.rejects(ended, { code: 4 });
    }
  },
);
