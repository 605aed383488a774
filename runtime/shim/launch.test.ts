import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { startShim } from './launch.ts';

test('a shim whose start hangs is killed, and not started a second time', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-shim-launch-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let starts = 0;
  const startProgram: StartProgram = () => {
    starts += 1;
    const exited = Promise.withResolvers<number>();
    return Promise.resolve({ pid: 0, exited: exited.promise, kill: () => exited.resolve(137) });
  };
  const events = {
    socket: join(folder, 'events'),
    ensure: () => Promise.resolve(),
    close: () => Promise.resolve(true),
  };
  let failed: unknown;
  const starting = startShim(
    { startProgram, path: '/usr/bin/shim', runtimeFolder: '', events },
    'pod',
    folder,
  );
  void starting.catch((thrown: unknown) => (failed = thrown));
  while (failed === undefined) {
    await turn();
    t.mock.timers.tick(1_000);
  }
  assert.ok(isPortcullisError(failed) && failed.code === 'SHIM_START_FAILED');
  assert.match(failed.message, /it did not end within 30 s and was killed/);
  assert.equal(starts, 1);
});
