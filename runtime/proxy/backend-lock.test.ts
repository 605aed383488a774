import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectionsTo } from './backend-lock.ts';

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
