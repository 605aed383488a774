import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exitReason } from './exit-reason.ts';
import { nextContainerPhase } from './lifecycle.ts';
import { linkClassFor } from './link-class.ts';
import { containerLogPath } from './log-path.ts';

test('exit reasons: completed, error, out of memory, monitor lost', () => {
  const exit = (code: number, fromMonitor = true) => ({ code, finishedAt: '1', fromMonitor });
  assert.equal(exitReason(exit(0), false).reason, 'Completed');
  assert.equal(exitReason(exit(3), false).reason, 'Error');
  assert.equal(exitReason(exit(137), true).reason, 'OOMKilled');
  // A child was killed, the container went on and ended well.
  assert.equal(exitReason(exit(0), true).reason, 'Completed');
  assert.equal(exitReason(exit(255, false), false).reason, 'MonitorLost');
});

test('the link is raised to the widest class of the started containers, and to nothing by the others', () => {
  assert.equal(linkClassFor([]), 'deny');
  assert.equal(linkClassFor([{ phase: 'created', networkClass: 'admin' }]), 'deny');
  assert.equal(linkClassFor([{ phase: 'running', networkClass: 'none' }]), 'none');
  assert.equal(
    linkClassFor([
      { phase: 'running', networkClass: 'none' },
      { phase: 'starting', networkClass: 'user' },
      { phase: 'exited', networkClass: 'admin' },
    ]),
    'user',
  );
});

test('log paths stay below the log folder', () => {
  assert.equal(containerLogPath('/var/log/pods/x/', 'c/0.log'), '/var/log/pods/x/c/0.log');
  assert.equal(containerLogPath('', 'c.log'), '');
  for (const path of ['/etc/passwd', '../x', 'a/../../x', '.', 'a\0']) {
    assert.throws(() => containerLogPath('/var/log', path), { code: 'RUNTIME_BAD_LOG_PATH' }, path);
  }
});

test('a phase has only its own transitions', () => {
  assert.equal(nextContainerPhase('created', 'start-asked'), 'starting');
  assert.equal(nextContainerPhase('starting', 'exited'), 'exited');
  assert.throws(() => nextContainerPhase('exited', 'start-asked'), { code: 'RUNTIME_ILLEGAL_TRANSITION' });
});
