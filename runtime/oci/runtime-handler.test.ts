import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { openRuntimeHandler } from './runtime-handler.ts';

// An idle reactor holds no process: the test does.
const hold = setInterval(() => undefined, 1_000);

test('a handler that is opened drops the files of updates that a killed daemon began, and nothing else', async (t) => {
  const stateDir = mkdtempSync(join(tmpdir(), 'portcullis-handler-'));
  const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  t.after(async () => {
    await Promise.all([reactor.close(), kernel.close()]);
    clearInterval(hold);
    rmSync(stateDir, { recursive: true });
  });
  writeFileSync(join(stateDir, `.update-${'a'.repeat(64)}-1.json`), '{}');
  mkdirSync(join(stateDir, 'b'.repeat(64)));
  const handler = await openRuntimeHandler({
    startProgram: programStarter(reactor, kernel),
    name: 'crun',
    path: '/usr/bin/crun',
    stateDir,
  });
  assert.equal(handler.kind, 'crun');
  assert.deepEqual(readdirSync(stateDir), ['b'.repeat(64)]);
  assert.equal(await handler.observe('c'.repeat(64)), 'absent');
  await handler.delete('c'.repeat(64));
});
