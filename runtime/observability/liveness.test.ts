import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { startReactor } from '../../base/reactor/index.ts';
import { mountDeadServer, noDeadServer } from '../../test/fixtures/dead-server.ts';
import { openDatabase } from '../../base/storage/index.ts';
import { createHealth } from './health.ts';
import { heartbeatSchema } from './heartbeat.ts';
import { livenessChecks } from './liveness.ts';

const well = { files: 'ok', database: 'ok', reactor: 'ok', namespaces: 'ok', mounts: 'ok', programs: 'ok' };
/** Waits until the checks run again. */
const fresh = () => pause(1_100);

test('a full disk does not count as unhealthy; a closed database does', async (t) => {
  const disk = mkdtempSync(join(tmpdir(), 'portcullis-liveness-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', disk]);
  t.after(() => {
    execFileSync('umount', ['--lazy', disk]);
    rmSync(disk, { recursive: true });
  });
  const database = await openDatabase({
    path: join(disk, 'state.db'),
    migrations: [
      { version: 1, sql: heartbeatSchema },
      { version: 2, sql: 'CREATE TABLE item (text TEXT) STRICT' },
    ],
  });
  const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  t.after(() => Promise.all([database.close(), reactor.close(), kernel.close()]));
  const health = createHealth(livenessChecks({ database, reactor, kernel, folders: [disk] }));
  assert.deepEqual(await health(), { healthy: true, checks: well });
  for (const bytes of [4096, 1])
    assert.throws(
      () => {
        for (;;) appendFileSync(join(disk, 'filler'), 'x'.repeat(bytes));
      },
      { code: 'ENOSPC' },
    );
  await assert.rejects(
    database.write([{ sql: 'INSERT INTO item VALUES (?)', params: ['x'.repeat(100_000)] }]),
    {
      code: 'STORAGE_DISK_FULL',
    },
  );
  await fresh();
  assert.deepEqual(await health(), { healthy: true, checks: well });
  await database.close();
  await fresh();
  const ill = await health();
  assert.equal(ill.healthy, false);
  assert.match(ill.checks['database'] ?? '', /closed/);
});

test(
  'unhealthy while all threads wait for a dead file server, healthy while no thread waits',
  { skip: noDeadServer },
  async (t) => {
    const server = mountDeadServer();
    t.after(() => server.close());
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-liveness-'));
    const database = await openDatabase({
      path: join(folder, 'state.db'),
      migrations: [{ version: 1, sql: heartbeatSchema }],
    });
    const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
    const health = createHealth(livenessChecks({ database, reactor, kernel, folders: [folder] }));
    assert.deepEqual(await health(), { healthy: true, checks: well });
    // libuv's pool has four threads.
    const hung = Array.from({ length: 4 }, () => stat(join(server.folder, 'in')).catch(() => undefined));
    await fresh();
    const { healthy, checks } = await health();
    server.hangUp();
    await Promise.all([...hung, database.close(), reactor.close(), kernel.close()]);
    rmSync(folder, { recursive: true });
    assert.deepEqual([healthy, checks['files']], [false, 'it did not answer within 2000 ms']);
  },
);
