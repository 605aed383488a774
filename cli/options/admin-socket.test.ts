import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Command } from 'commander';
import { withSocket } from './endpoint.ts';
import { withAdminSocket } from './admin-socket.ts';

function socketOf(...flags: readonly string[]): unknown {
  const program = new Command();
  let found: unknown;
  withAdminSocket(withSocket(program.command('ask'))).action(
    (options: { adminSocket: string }) => void (found = options.adminSocket),
  );
  program.parse(['node', 'portcullis', 'ask', ...flags]);
  return found;
}

afterEach(() => {
  delete process.env['PORTCULLIS_SOCKET'];
  delete process.env['PORTCULLIS_ADMIN_SOCKET'];
});

test('the admin socket is the named one, or the one of the default state folder', () => {
  assert.equal(socketOf(), '/run/portcullis/admin.sock');
  assert.equal(socketOf('--admin-socket', '/x/a.sock'), '/x/a.sock');
});

test('the flag of earlier versions names the folder of the admin socket', () => {
  assert.equal(socketOf('--cni-socket', '/x/cni.sock'), '/x/admin.sock');
});

test('a user who names the socket of another daemon never reaches the default daemon', () => {
  assert.equal(socketOf('--socket', '/y/cri.sock'), '/y/admin.sock');
  process.env['PORTCULLIS_SOCKET'] = 'unix:///x/cri.sock';
  assert.equal(socketOf(), '/x/admin.sock');
  assert.equal(socketOf('--socket', '/y/cri.sock'), '/y/admin.sock');
  assert.equal(socketOf('--admin-socket', '/z/a.sock'), '/z/a.sock');
  process.env['PORTCULLIS_ADMIN_SOCKET'] = '/state/admin.sock';
  assert.equal(socketOf(), '/state/admin.sock');
});
