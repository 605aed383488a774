import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { reapProcess, startKernelWorker } from './index.ts';

/** Returns the names of the threads that call the kernel. The kernel keeps 15 characters of a name. */
function callers(): string[] {
  return readdirSync('/proc/self/task')
    .map((thread) => {
      try {
        return readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim();
      } catch {
        return ''; // it has ended
      }
    })
    .filter((name) => name.startsWith('kernel-'))
    .sort();
}

test('one Worker serves the start, and separate Workers serve later calls', async (t) => {
  const kernel = await startKernelWorker({ isShared: true });
  t.after(() => kernel.close());
  await assert.rejects(kernel.umount('/nowhere'), { code: 'KERNEL_ENOENT' });
  await kernel.unpinNamespaces('/nowhere');
  const pid = await kernel.spawnProcess({ path: '/bin/true', argv: ['true'], env: {}, descriptors: [] });
  while (reapProcess(pid) === undefined) await pause(1);
  assert.deepEqual(callers(), ['kernel-first.wo']);

  kernel.rest();
  await assert.rejects(kernel.umount('/nowhere'), { code: 'KERNEL_ENOENT' });
  await kernel.unpinNamespaces('/nowhere');
  for (let waited = 0; waited < 3_000 && callers().includes('kernel-first.wo'); waited += 1) await pause(20);
  assert.deepEqual(callers(), ['kernel-mounts.w', 'kernel-namespac', 'kernel-programs']);
});

test('one Worker serves again when it is asked for', async (t) => {
  const kernel = await startKernelWorker();
  t.after(() => kernel.close());
  kernel.rest({ isShared: true });
  await assert.rejects(kernel.umount('/nowhere'), { code: 'KERNEL_ENOENT' });
  await kernel.unpinNamespaces('/nowhere');
  for (let waited = 0; waited < 3_000 && callers().length > 1; waited += 1) await pause(20);
  assert.deepEqual(callers(), ['kernel-first.wo']);
});

test('a call that never ends in the shared Worker delays calls of other kinds only briefly', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-shared-'));
  const fifo = join(folder, 'pin');
  const kernel = await startKernelWorker({ isShared: true });
  // Opening it waits for another process, as a dead file server keeps a call waiting.
  spawnSync('mkfifo', [fifo]);
  const hanging = kernel.readNetFiles([fifo], 'dev');
  t.after(async () => {
    closeSync(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK));
    await hanging.catch(() => undefined);
    await kernel.close();
    rmSync(folder, { recursive: true });
  });
  const starting = kernel.spawnProcess({ path: '/bin/true', argv: ['true'], env: {}, descriptors: [] });
  const unmounting = assert.rejects(kernel.umount('/nowhere'), { code: 'KERNEL_ENOENT' });
  const late = pause(3_000, 'late');
  const pid = await Promise.race([starting, late]);
  assert.notEqual(pid, 'late');
  assert.equal(await Promise.race([unmounting, late]), undefined);
  while (reapProcess(Number(pid)) === undefined) await pause(1);
});
