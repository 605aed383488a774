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

test('an empty variable counts as unset', () => {
  process.env['PORTCULLIS_SOCKET'] = '';
  process.env['PORTCULLIS_ADMIN_SOCKET'] = '';
  assert.equal(socketOf(), '/run/portcullis/admin.sock');
  assert.equal(socketOf('--socket', '/y/cri.sock'), '/y/admin.sock');
});

test('a socket that is not a unix socket is refused, and the message names the option or the variable', () => {
  const refused = (...flags: readonly string[]): string => {
    let text = '';
    const program = new Command();
    const ask = program.command('ask').exitOverride();
    ask.configureOutput({ writeErr: (written) => void (text += written) }).action(() => undefined);
    withAdminSocket(withSocket(ask));
    assert.throws(() => program.parse(['node', 'portcullis', 'ask', ...flags]));
    return text;
  };
  assert.match(
    refused('--socket', 'tcp://127.0.0.1:1'),
    /--socket <path>' argument 'tcp:.*path of a unix socket/,
  );
  assert.match(
    refused('--admin-socket', 'http://x'),
    /--admin-socket <path>' argument 'http:.*path of a unix/,
  );
  process.env['PORTCULLIS_SOCKET'] = 'tcp://127.0.0.1:1';
  assert.match(refused(), /PORTCULLIS_SOCKET.*path of a unix socket/);
  process.env['PORTCULLIS_SOCKET'] = 'unix:/x/cri.sock';
  assert.equal(socketOf(), '/x/admin.sock');
});

test('a command that has no option for the CRI socket refuses a variable that is not a unix socket', () => {
  process.env['PORTCULLIS_SOCKET'] = 'tcp://127.0.0.1:1';
  let text = '';
  const program = new Command();
  const ask = program.command('ask').exitOverride();
  ask.configureOutput({ writeErr: (written) => void (text += written) });
  withAdminSocket(ask).action(() => undefined);
  assert.throws(() => program.parse(['node', 'portcullis', 'ask']), { code: 'commander.invalidArgument' });
  assert.match(text, /PORTCULLIS_SOCKET 'tcp:.*path of a unix socket/);
});
