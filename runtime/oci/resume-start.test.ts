import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { processIdentity } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { resumeStart, waitsForStart } from './resume-start.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-resume-'));
process.on('exit', () => rmSync(folder, { recursive: true }));

/**
 * Behaves like crun's first process after a writer has opened and closed the FIFO: it never sleeps, and ends
 * when it cannot read.
 */
const waiting = `
  const fs = require('fs');
  const gate = fs.openSync(process.argv[1], fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  process.stdout.write('waits');
  while (fs.readSync(gate, Buffer.alloc(1)) === 0);`;

async function waiter(): Promise<{ dir: string; init: ProcessIdentity; exit: Promise<unknown[]> }> {
  const dir = mkdtempSync(join(folder, 'c'));
  execFileSync('mkfifo', [join(dir, 'exec.fifo')]);
  const child = spawn(process.execPath, ['-e', waiting, join(dir, 'exec.fifo')], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const exit = once(child, 'exit');
  await once(child.stdout, 'data');
  const init = processIdentity(child.pid ?? 0);
  assert.ok(init !== undefined);
  return { dir, init, exit };
}

test('a start that was interrupted before or after its FIFO was removed is finished', async () => {
  for (let turn = 0; turn < 20; turn += 1) {
    const { dir, init, exit } = await waiter();
    if (turn % 2 === 1) unlinkSync(join(dir, 'exec.fifo'));
    assert.equal(await waitsForStart(init), true);
    assert.equal(await resumeStart(dir, init), true);
    assert.deepEqual(await exit, [0, null]);
    assert.equal(existsSync(join(dir, 'exec.fifo')), false);
  }
});

test('a process that does not wait is not changed', async () => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const init = processIdentity(child.pid ?? 0);
  assert.ok(init !== undefined);
  assert.equal(await waitsForStart(init), false);
  assert.equal(await resumeStart(folder, init), false);
  assert.equal(child.exitCode, null);
  child.kill();
  await once(child, 'exit');
  assert.equal(await waitsForStart(init), false);
  assert.equal(await waitsForStart(undefined), false);
});
