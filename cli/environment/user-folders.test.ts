import assert from 'node:assert/strict';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { ownCollections, userState } from './user-folders.ts';

const before = { ...process.env };
afterEach(() => {
  process.env = { ...before };
});

test('an empty or relative XDG_STATE_HOME does not put the state into the current folder', () => {
  const standard = join(homedir(), '.local/state/portcullis/x');
  for (const [given, expected] of [
    ['', standard],
    ['state', standard],
    ['/srv/state', '/srv/state/portcullis/x'],
  ] as const) {
    process.env['XDG_STATE_HOME'] = given;
    assert.equal(userState('x'), expected);
  }
});

test('an empty PORTCULLIS_TRUST_DIR does not put private keys into the current folder', () => {
  process.env['PORTCULLIS_TRUST_DIR'] = '';
  assert.equal(ownCollections(), join(homedir(), '.portcullis/trust'));
  process.env['PORTCULLIS_TRUST_DIR'] = 'keys';
  assert.equal(ownCollections(), 'keys');
});
