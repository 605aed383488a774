import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { it } from 'node:test';

it('a Worker that is terminated while it loads native code does not abort the process', () => {
  const { status, signal, stderr } = spawnSync(
    process.execPath,
    [join(import.meta.dirname, 'koffi.fixture.ts')],
    {
      encoding: 'utf8',
    },
  );
  assert.deepEqual({ status, signal }, { status: 0, signal: null }, stderr);
});
