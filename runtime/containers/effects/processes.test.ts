import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { PortcullisError } from '../../../base/errors/index.ts';
import { processIdentity } from '../../../base/process/index.ts';
import { holdDescriptors } from '../../../base/process/descriptors.fixture.ts';
import type { ContainerRecord } from '../record.ts';
import { processEffects } from './processes.ts';
import { createSlots } from '../../processes/slots.ts';

test('a stop reaches a task whose shim is no longer configured, and its stand-in ends only with SIGKILL', async () => {
  const [standIn, task] = [spawn('sleep', ['600']), spawn('sleep', ['600'])];
  const ended = [standIn, task].map(async (child) => once(child, 'exit'));
  const identityOf = (pid: number | undefined) => processIdentity(pid ?? 0);
  const record = { id: 'a', init: identityOf(standIn.pid), task: identityOf(task.pid) };
  const { kill } = processEffects({
    places: {
      findHandler: () => undefined,
      cgroup: () => ({ path: '/absent', specPath: '/absent', systemd: false }),
    } as never,
    slots: createSlots(1, 1_000),
    cgroups: { version: 2, roots: ['/absent'] } as never,
  });
  kill(record as ContainerRecord, 'SIGTERM');
  assert.deepEqual(await ended[1], [null, 'SIGTERM']);
  assert.equal(standIn.exitCode ?? standIn.signalCode, null);
  kill(record as ContainerRecord, 'SIGKILL');
  assert.deepEqual(await ended[0], [null, 'SIGKILL']);
});

test('a stop signal that neither a shim nor this process can send, for lack of descriptors, does no harm', async () => {
  const child = spawn('sleep', ['600']);
  const ended = once(child, 'exit');
  const record = { id: 'a', task: processIdentity(child.pid ?? 0) };
  const code = { code: 'TTRPC_UNKNOWN', kind: 'internal', attempted: 'kill', on: 'a' } as const;
  const refused = new PortcullisError({ ...code, why: 'too many open files', fix: 'repeat it' });
  const { kill } = processEffects({
    places: {
      findHandler: () => ({ tasks: { kill: () => Promise.reject(refused) } }),
      bundle: () => '/absent',
    } as never,
    slots: createSlots(1, 1_000),
    cgroups: { version: 2, roots: ['/absent'] } as never,
  });
  const descriptors = holdDescriptors();
  const unhandled: unknown[] = [];
  const note = (thrown: unknown): void => void unhandled.push(thrown);
  process.on('unhandledRejection', note);
  try {
    descriptors.fill();
    kill(record as ContainerRecord, 'SIGTERM');
    await turn();
    descriptors.release();
    await turn();
    assert.deepEqual(unhandled, []);
    kill(record as ContainerRecord, 'SIGTERM');
    assert.deepEqual(await ended, [null, 'SIGTERM']);
  } finally {
    process.off('unhandledRejection', note);
    descriptors.release();
    child.kill('SIGKILL');
  }
});
