import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { endLeftoverExecs } from './exec-files.ts';
import { execRefused } from './exec.ts';

test('only the leftovers of the commands of a killed daemon are removed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bundle-'));
  const container = { id: 'c', dir: folder, init: undefined, isShim: false, takesCgroup: true };
  try {
    for (const name of [
      'exec-12-1.json',
      'exec-12-1.pid',
      'stream-3-4.log',
      'config.json',
      'exec-me.json',
      'init.pid',
    ])
      writeFileSync(join(folder, name), '');
    await endLeftoverExecs({ kind: 'none' }, container);
    assert.deepEqual(readdirSync(folder).sort(), ['config.json', 'exec-me.json', 'init.pid']);
    await endLeftoverExecs({ kind: 'none' }, { ...container, dir: join(folder, 'none') });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a shim that does not answer hardly delays the start of the daemon', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bundle-'));
  const socket = join(folder, 's');
  const server = createServer((connection) => t.after(() => connection.destroy()));
  t.after(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  server.listen(socket);
  await once(server, 'listening');
  writeFileSync(join(folder, 'shim.json'), JSON.stringify({ socket, version: 3 }));
  for (const number of [1, 2, 3]) writeFileSync(join(folder, `exec-12-${number}.json`), '');
  const container = { id: 'c', dir: folder, init: undefined, isShim: true, takesCgroup: false };
  const started = performance.now();
  await endLeftoverExecs({ kind: 'none' }, container);
  assert.ok(performance.now() - started < 10_000);
});

for (const reason of [
  'cannot parse status file: parse error: premature EOF',
  `error opening file \`/run/crun/${'c'.repeat(64)}/status\`: No such file or directory`,
])
  test(`a command that crun refuses is not blamed for the state of the container: ${reason}`, () =>
    assert.match(execRefused('c', reason).failure.fix, /create a new container/u));

for (const reason of [
  'the container `c` is paused',
  'cannot exec in a paused container (use --ignore-paused)',
])
  test(`a frozen container is named: ${reason}`, () =>
    assert.match(execRefused('c', reason).failure.why, /^the container is frozen/u));

for (const reason of [
  'write file `/proc/thread-self/attr/exec`: No such file or directory',
  'unable to apply apparmor profile: apparmor failed to apply profile: write /proc/self/attr/apparmor/exec: no such file or directory',
])
  test(`an AppArmor profile that was unloaded is named: ${reason}`, () =>
    assert.match(
      execRefused('c', reason).failure.why,
      /^the AppArmor profile of the container was unloaded/u,
    ));
