import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Logger } from '../../base/log/index.ts';
import { connectionsTo, lockBackend, refuseOwnSocket } from './backend-lock.ts';

test('connections to a backend are counted under every name of its socket', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-lock-'));
  mkdirSync(join(folder, 'run'));
  symlinkSync('run', join(folder, 'link'));
  const server = createServer();
  server.listen(join(folder, 'link/b.sock'));
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const client = connect(join(folder, 'run/b.sock'));
  context.after(() => {
    client.destroy();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  await accepted;
  assert.equal(connectionsTo(join(folder, 'run/b.sock')), 1);
  assert.equal(connectionsTo(join(folder, 'link/b.sock')), 1);
  assert.equal(connectionsTo(join(folder, 'other/b.sock')), 0);
});

test('the end of a backend is not reported as a connection of another process', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-lock-'));
  const socket = join(folder, 'b.sock');
  const server = createServer().listen(socket);
  await once(server, 'listening');
  context.mock.timers.enable({ apis: ['setInterval'] });
  const warnings: unknown[] = [];
  const none = (): void => undefined;
  const log: Logger = {
    ...{ debug: none, info: none, warn: (fields) => warnings.push(fields), error: none, child: () => log },
  };
  let ours = 1;
  const lock = lockBackend(socket, () => ours, log);
  context.after(() => {
    lock.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  // The backend has closed the connection, which this process has not noticed yet.
  context.mock.timers.tick(2_000);
  ours = 0;
  context.mock.timers.tick(2_000);
  assert.deepEqual(warnings, []);
});

test('the socket of the proxy itself is refused as the backend, under every name', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-lock-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'run'));
  symlinkSync('run', join(folder, 'link'));
  const own = join(folder, 'run/proxy.sock');
  for (const backend of [own, join(folder, 'link/proxy.sock')])
    assert.throws(() => refuseOwnSocket(backend, own), {
      code: 'PROXY_BAD_BACKEND',
      message: /itself would listen there.*another path with --socket/u,
    });
  refuseOwnSocket(join(folder, 'run/containerd.sock'), own);
  refuseOwnSocket(join(folder, 'gone/proxy.sock'), own);
});
