import assert from 'node:assert/strict';
import { it } from 'node:test';
import { silentDaemonFix } from './daemon.ts';
import { lostLinkFix } from './lost-links.ts';

it('the advice to a user who may not connect is not to start a daemon that may run', () => {
  assert.equal(silentDaemonFix('this user may not connect to the socket', false), 'run as root');
  assert.equal(silentDaemonFix('nothing listens at /x.sock', false), 'systemctl start portcullisd');
  assert.equal(silentDaemonFix('it did not answer in time', true), 'systemctl start portcullisd');
});

it('without a daemon, the advice about lost links is to start it', () => {
  assert.match(lostLinkFix(true), /^portcullis network gc /);
  assert.match(lostLinkFix(false), /^start the daemon: it restores them/);
});
