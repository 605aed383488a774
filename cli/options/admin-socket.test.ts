import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { withAdminSocket } from './admin-socket.ts';

function socketOf(...flags: readonly string[]): unknown {
  const program = new Command();
  let found: unknown;
  withAdminSocket(program.command('ask')).action(
    (options: { adminSocket: string }) => void (found = options.adminSocket),
  );
  program.parse(['node', 'portcullis', 'ask', ...flags]);
  return found;
}

test('the admin socket is the named one, or the one of the default state folder', () => {
  assert.equal(socketOf(), '/run/portcullis/admin.sock');
  assert.equal(socketOf('--admin-socket', '/x/a.sock'), '/x/a.sock');
});

test('the flag of earlier versions names the folder of the admin socket', () => {
  assert.equal(socketOf('--cni-socket', '/x/cni.sock'), '/x/admin.sock');
});
