import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { asNobody } from '../../test/fixtures/as-nobody.ts';

test('a Worker for which the kernel has no thread emits an error, and throws none at the event that needed it', () => {
  const [program, ...words] = asNobody;
  const fixture = join(import.meta.dirname, 'no-threads.fixture.ts');
  const { stdout, stderr, status } = spawnSync(program, [...words, process.execPath, fixture], {
    encoding: 'utf8',
  });
  assert.deepEqual([status, stderr], [0, '']);
  assert.deepEqual(stdout.split('\n'), [
    'returned',
    'error ERR_WORKER_INIT_FAILED: no thread can be started: EAGAIN',
    'exit 1',
    'terminated 1',
  ]);
});
