import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, test } from 'node:test';

/** Runs between the removal of the FIFO and the write to the waiting process. */
let meanwhile = (): void => undefined;
const { unlink } = files;
files.unlink = async (path) => {
  await unlink(path);
  meanwhile();
};
syncBuiltinESMExports();
const { startByFifo } = await import('./start-by-fifo.ts');

const folder = mkdtempSync(join(tmpdir(), 'portcullis-fifo-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(folder, 'c'));
});
const waitAtFifo = (): number => {
  execFileSync('mkfifo', [join(dir, 'exec.fifo')]);
  return openSync(join(dir, 'exec.fifo'), constants.O_RDONLY | constants.O_NONBLOCK);
};

test('a waiting process is started after the FIFO is removed', async () => {
  writeFileSync(join(dir, 'config.json'), '{}');
  const waiting = waitAtFifo();
  assert.equal(await startByFifo(dir), true);
  assert.equal(existsSync(join(dir, 'exec.fifo')), false);
  assert.equal(readSync(waiting, Buffer.alloc(8)), 1);
  assert.equal(await startByFifo(dir), false, 'the runtime refuses a second start');
});

test('the runtime handles hooks and a process that no longer waits', async () => {
  writeFileSync(join(dir, 'config.json'), '{"hooks":{"poststart":[]}}');
  waitAtFifo();
  assert.equal(await startByFifo(dir), false);
  assert.equal(existsSync(join(dir, 'exec.fifo')), true);

  dir = join(dir, 'none');
  mkdirSync(dir);
  writeFileSync(join(dir, 'config.json'), '{}');
  execFileSync('mkfifo', [join(dir, 'exec.fifo')]);
  assert.equal(await startByFifo(dir), false);
  assert.equal(existsSync(join(dir, 'exec.fifo')), true);
});

test('a process that ends meanwhile is reported as the reason', async () => {
  writeFileSync(join(dir, 'config.json'), '{}');
  const waiting = waitAtFifo();
  meanwhile = () => closeSync(waiting);
  try {
    await assert.rejects(startByFifo(dir), {
      code: 'RUNTIME_START_FAILED',
      message: /first process ended before it was started/,
    });
  } finally {
    meanwhile = () => undefined;
  }
});
