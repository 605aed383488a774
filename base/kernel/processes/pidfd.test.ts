import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { closeFd, kernelRelease, pidfdInfo, pidfdOpen, pidfdSendSignal } from '../index.ts';

const { major, minor } = kernelRelease();
const skip = major > 6 || (major === 6 && minor >= 15) ? false : 'the exit code needs kernel 6.15';

function start(script: string): { child: ChildProcess; pidfd: number } {
  const child = spawn('sh', ['-c', script], { stdio: 'ignore' });
  assert.ok(child.pid !== undefined);
  return { child, pidfd: pidfdOpen(child.pid) };
}

test('reports pid and parent of a live process, and that it has not exited', { skip }, async () => {
  const { child, pidfd } = start('sleep 5');
  const info = pidfdInfo(pidfd);
  assert.ok(info !== undefined);
  assert.equal(info.pid, child.pid);
  assert.equal(info.ppid, process.pid);
  assert.equal(info.exited, false);
  assert.equal(info.exitCode, undefined);
  assert.ok(info.cgroupId > 0n);
  pidfdSendSignal(pidfd, 'SIGKILL');
  await once(child, 'exit');
  closeFd(pidfd);
});

for (const [what, script, signal, code] of [
  ['exit 0', 'exit 0', undefined, 0],
  ['exit 7', 'exit 7', undefined, 7],
  ['SIGTERM by name', 'sleep 5', 'SIGTERM', 143],
  ['SIGKILL by number', 'sleep 5', 9, 137],
  ['SIGSEGV from inside', 'kill -SEGV $$', undefined, 139],
] as const) {
  test(`the exit code is known after the process is reaped: ${what}`, { skip }, async () => {
    const { child, pidfd } = start(script);
    const exited = once(child, 'exit');
    if (signal !== undefined) pidfdSendSignal(pidfd, signal);
    await exited;
    assert.deepEqual(
      { ...pidfdInfo(pidfd), cgroupId: 0n },
      { pid: 0, ppid: 0, exited: true, exitCode: code, cgroupId: 0n },
    );
    assert.throws(() => pidfdSendSignal(pidfd, 0), { code: 'KERNEL_ESRCH' });
    closeFd(pidfd);
  });
}

test('reports a process that does not exist', () => {
  assert.throws(() => pidfdOpen(2 ** 30), { code: /KERNEL_(ESRCH|EINVAL)/ });
  assert.throws(() => pidfdInfo(-1), { code: 'KERNEL_EBADF' });
});
