import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { killMonitorOf } from './monitors.ts';

test('the removal of a container ends an unrecorded monitor, and no client that names the container', async (t) => {
  const id = randomBytes(32).toString('hex');
  const bundle = `/run/portcullis/containers/${id}`;
  const running = (...args: readonly string[]) => {
    const child = spawn('sh', ['-c', 'while true; do sleep 0.2; done', ...args], { stdio: 'ignore' });
    t.after(() => child.kill('SIGKILL'));
    return child;
  };
  const client = running('crictl', 'rm', id);
  const monitor = running('conmon', '--cid', id, '--bundle', bundle);
  const runtime = running('crun', 'create', '--bundle', bundle, id);
  const ended = Promise.all([once(monitor, 'exit'), once(runtime, 'exit')]);
  await pause(50);
  await killMonitorOf({ id }, bundle);
  await ended;
  assert.equal(client.exitCode ?? client.signalCode, null);
});
