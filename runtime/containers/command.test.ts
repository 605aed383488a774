import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failure } from '../../base/errors/index.ts';
import { runCommandIn } from './command.ts';
import type { ContainerRecord } from './record.ts';

/**
 * Runs a command in a container of a shim, whose runtime refuses it. Process 7 is the stand-in of the task,
 * process 8.
 * @param stopping the task ends soon
 */
function refused(code: string, alive: readonly number[], stopping = false): Promise<unknown> {
  const record = {
    ...{ id: 'c'.repeat(64), phase: 'running' },
    init: { pid: 7, startTime: '1', bootId: 'b' },
    task: { pid: 8, startTime: '1', bootId: 'b' },
  } as unknown as ContainerRecord;
  let left = alive;
  const why = 'the container is not running';
  const effects = {
    exec: () => Promise.reject(failure(code, 'precondition', 'run a command in container', 'c', why, 'x')),
    isAlive: ({ init }: Pick<ContainerRecord, 'init'>) => left.includes(init?.pid ?? 0),
    clock: {
      sleep: () => {
        left = [];
        return Promise.resolve();
      },
    },
  };
  const deps = { records: { find: () => record }, effects, isStopping: () => stopping };
  return runCommandIn(deps, record.id, ['true'], 1_000);
}

test('a command that loses to the exit of its container is refused as after the exit', () =>
  assert.rejects(refused('RUNTIME_EXEC_REFUSED', [7]), {
    code: 'RUNTIME_CONTAINER_WRONG_STATE',
    message: /it is exited/u,
  }));

test('a command that loses to the stop of its container is refused as after the exit', () =>
  assert.rejects(refused('RUNTIME_EXEC_REFUSED', [7, 8], true), {
    code: 'RUNTIME_CONTAINER_WRONG_STATE',
    message: /it is exited/u,
  }));

test('a command for which the kernel of an ended container creates no process is refused in this way, too', () =>
  assert.rejects(refused('RUNTIME_EXEC_NO_PROCESS', [7]), { code: 'RUNTIME_CONTAINER_WRONG_STATE' }));

test('the refusal of a command in a living container is quoted', () =>
  assert.rejects(refused('RUNTIME_EXEC_REFUSED', [7, 8]), { code: 'RUNTIME_EXEC_REFUSED' }));

test('a command that reached its timeout is reported as such, although its container has ended', () =>
  assert.rejects(refused('RUNTIME_EXEC_TIMEOUT', [7]), { code: 'RUNTIME_EXEC_TIMEOUT' }));
