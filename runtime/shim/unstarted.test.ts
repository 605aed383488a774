import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { TaskStatus } from './contract.types.ts';
import { createUnstartedTasks } from './unstarted.ts';

/** A shim, its program, and the calls that both get. @param isKept whether `delete` leaves the container */
function shimWith(status: TaskStatus, isKept = false) {
  const calls: string[] = [];
  let isThere = true;
  const called = (name: string, answer: object) => () => {
    calls.push(name);
    return isThere ? Promise.resolve(answer) : Promise.reject(new Error('does not exist'));
  };
  const api = {
    state: called('state', { status }),
    stats: called('stats', {}),
    start: called('start', {}),
  } as unknown as Parameters<ReturnType<typeof createUnstartedTasks>['end']>[0];
  const program = {
    startProgram: ({ argv }: { readonly argv: readonly string[] }) => {
      calls.push(argv.at(-1) ?? '');
      isThere = isKept;
      return Promise.resolve({ pid: 0, exited: Promise.resolve(0), kill: () => undefined });
    },
    ...{ path: '/usr/bin/shim', runtimeFolder: '' },
    events: { socket: '', ensure: () => Promise.resolve(), close: () => Promise.resolve(true) },
  };
  return { calls, api, program };
}

test('a task is removed before a start that then fails, without a question for its state between', async () => {
  const { calls, api, program } = shimWith(TaskStatus.CREATED);
  const tasks = createUnstartedTasks(program, false);
  const ending = [tasks.end(api, 'c', tmpdir()), tasks.end(api, 'c', tmpdir())];
  let isEnding = true;
  const settled = tasks.settled('c').then(() => assert.ok(!isEnding, 'it is still being ended'));
  await Promise.all(ending.map((one) => one.then(() => (isEnding = false))));
  await settled;
  assert.deepEqual(calls, ['state', 'delete', 'stats', 'start']);
});

test('a task that is still there after its removal is not started', async () => {
  const { calls, api, program } = shimWith(TaskStatus.CREATED, true);
  await assert.rejects(
    createUnstartedTasks(program, false).end(api, 'c', tmpdir()),
    (thrown) => isPortcullisError(thrown) && thrown.code === 'SHIM_DELETE_FAILED',
  );
  assert.deepEqual(calls, ['state', 'delete', 'stats']);
});

test('a task that has started is left alone, and so is each task of a shim that signals all', async () => {
  const running = shimWith(TaskStatus.RUNNING);
  const tasks = createUnstartedTasks(running.program, false);
  await tasks.end(running.api, 'c', tmpdir());
  await tasks.end(running.api, 'c', tmpdir());
  tasks.started('d');
  await tasks.end(running.api, 'd', tmpdir());
  assert.deepEqual(running.calls, ['state'], 'the shim is asked once, and not for a task that was started');
  const other = shimWith(TaskStatus.CREATED);
  await createUnstartedTasks(other.program, true).end(other.api, 'c', tmpdir());
  assert.deepEqual(other.calls, []);
});

test('the next daemon ends a task whose removal a killed daemon began, before any question for its state', async (t) => {
  const bundle = mkdtempSync(join(tmpdir(), 'pc-unstarted-'));
  t.after(() => rmSync(bundle, { recursive: true }));
  const shim = shimWith(TaskStatus.CREATED);
  const killed = { ...shim, api: { ...shim.api, stats: () => Promise.withResolvers<never>().promise } };
  const first = createUnstartedTasks(killed.program, false);
  await first.finish(killed.api, 'c', bundle);
  assert.deepEqual(killed.calls, [], 'nobody began to end it');
  void first.end(killed.api, 'c', bundle);
  while (killed.calls.length < 2) await new Promise(setImmediate);
  assert.deepEqual(killed.calls, ['state', 'delete']);
  const { calls, api, program } = shimWith(TaskStatus.STOPPED);
  const next = createUnstartedTasks(program, false);
  await next.finish(api, 'c', bundle);
  await next.finish(api, 'c', bundle);
  assert.deepEqual(calls, ['delete', 'stats', 'start']);
  assert.deepEqual(readdirSync(bundle), []);
});
