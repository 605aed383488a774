import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import { createFaultControl } from '../../test/chaos/faults/orders.ts';
import { startNameServer } from './name-server.ts';

const folderOf = 'PORTCULLIS_TEST_LOST_NAMES';
const own = process.env[folderOf];
if (own === undefined) {
  // The process in which the test runs loads the fault points first.
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-lost-names-'));
  const { environment } = createFaultControl(folder);
  const env = { ...process.env, ...environment, [folderOf]: folder };
  const { status } = spawnSync(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env,
  });
  rmSync(folder, { recursive: true });
  process.exit(status ?? 1);
}

test('a name server whose thread is lost closes at once', { timeout: 30_000 }, async () => {
  const control = createFaultControl(own);
  const server = await startNameServer(
    { databasePath: join(own, 'network.db'), ttl: 5, upstreams: [], maxForwards: 10 },
    createLogger({ level: 'silent' }),
  );
  const fault = {
    thread: 'name-server.worker',
    point: 'message',
    nth: 1,
    kind: 'end',
    error: '',
    delayMs: 0,
  } as const;
  control.give({ mode: 'fault', fault });
  assert.equal(await server.figures(), undefined);
  control.give({ mode: 'off' });
  const late = new Promise((resolve) => setTimeout(resolve, 10_000, 'not closed'));
  assert.equal(await Promise.race([server.close().then(() => 'closed'), late]), 'closed');
});
