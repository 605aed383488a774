import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { workerEntry } from './build.ts';

/** A Worker's module with a top-level await, like most of the bundle. */
const module = `import { parentPort } from 'node:worker_threads';
await new Promise((resolve) => setImmediate(resolve));
parentPort.postMessage('open');
`;

/** Terminates each Worker a random part of 0.2 ms after it is open. */
const program = `import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
let left = 120;
async function run() {
  while (left-- > 0) {
    const worker = new Worker(new URL('./workers/a.worker.js', import.meta.url));
    await once(worker, 'message');
    const until = performance.now() + Math.random() * 0.2;
    while (performance.now() < until);
    await worker.terminate();
  }
}
await Promise.all([run(), run(), run(), run()]);
`;

test('a process outlives Workers of the bundle that are terminated as soon as they are open', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-worker-entry-'));
  try {
    mkdirSync(join(folder, 'workers'));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    writeFileSync(join(folder, 'workers/a.worker.js'), workerEntry('a.worker'));
    writeFileSync(join(folder, 'a.worker.js'), module);
    writeFileSync(join(folder, 'program.js'), program);
    const { status, signal, stderr } = spawnSync(process.execPath, [join(folder, 'program.js')], {
      encoding: 'utf8',
      timeout: 120_000,
    });
    assert.deepEqual({ status, signal }, { status: 0, signal: null }, stderr);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
