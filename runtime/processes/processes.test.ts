import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { closeFd } from '../../base/kernel/index.ts';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { processIdentity } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { endProcessesWithArgument, openProcess } from './processes.ts';

function own(): ProcessIdentity {
  const identity = processIdentity(process.pid);
  assert.ok(identity !== undefined);
  return identity;
}

test('opens the requested process', () => {
  const pidfd = openProcess(own());
  assert.ok(pidfd !== undefined);
  closeFd(pidfd);
});

test('does not open another process that has the pid now', () => {
  assert.equal(openProcess({ ...own(), startTime: '1' }), undefined);
});

test('does not open a process of another boot', () => {
  assert.equal(openProcess({ ...own(), bootId: 'earlier' }), undefined);
});

test('treats a process whose pid now belongs to a thread as ended', () => {
  const thread = readdirSync('/proc/self/task')
    .map(Number)
    .find((id) => id !== process.pid);
  assert.ok(thread !== undefined);
  assert.equal(openProcess({ ...own(), pid: thread, startTime: '1' }), undefined);
});

test('processes are ended by their argument once a descriptor is free to find them', async () => {
  const argument = randomUUID();
  const child = spawn('sh', ['-c', 'while true; do sleep 0.2; done', 'sh', argument], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  const descriptors = holdDescriptors();
  try {
    descriptors.fill();
    const ending = endProcessesWithArgument(argument);
    const freed = setTimeout(() => descriptors.release(), 200);
    await ending;
    clearTimeout(freed);
    assert.deepEqual(await ended, [null, 'SIGKILL']);
  } finally {
    descriptors.release();
    child.kill('SIGKILL');
  }
});
