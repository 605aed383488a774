import assert from 'node:assert/strict';
import { it } from 'node:test';
import { policyFix, silentDaemonFix } from './daemon.ts';
import { lostLinkFix } from './lost-links.ts';

it('the advice to a user who may not connect is not to start a daemon that may run', () => {
  assert.equal(silentDaemonFix('this user may not connect to the socket', false, true), 'run as root');
  assert.equal(silentDaemonFix('nothing listens at /x.sock', false, true), 'systemctl start portcullisd');
  assert.equal(silentDaemonFix('it did not answer in time', true, true), 'systemctl start portcullisd');
});

it('without systemd, the advice about a silent daemon is not to start a service', () => {
  const fix = silentDaemonFix('nothing listens at /x.sock', true, false);
  assert.equal(fix, 'start the program portcullisd, as root');
});

it('without a daemon, the advice about lost links is to start it', () => {
  assert.match(lostLinkFix(true), /^portcullis network gc /);
  assert.match(lostLinkFix(false), /^start the daemon: it restores them/);
});

it('the advice about a policy of which no file exists is to write a first one', () => {
  assert.match(policyFix({ policy: ['/nowhere/policy'] }), /^portcullis setup /);
  assert.match(policyFix({ policy: ['/nowhere/policy', import.meta.dirname] }), /^portcullis policy check /);
});
