import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Records } from '../state/records.ts';
import type { ContainerRecord } from './record.ts';
import { updateContainer } from './update.ts';

/**
 * Updates the running container of a shim, which refuses this with its own words. Process 7 is the stand-in
 * of the task, process 8.
 */
function refused(alive: readonly number[], signal?: AbortSignal): Promise<void> {
  const record = {
    id: 'c'.repeat(64),
    phase: 'running',
    init: { pid: 7, startTime: '1', bootId: 'b' },
    task: { pid: 8, startTime: '1', bootId: 'b' },
    config: {},
  } as unknown as ContainerRecord;
  const records = {
    get: () => record,
    find: () => record,
    put: () => Promise.reject(new Error('a failed update is not recorded')),
  } as unknown as Records<ContainerRecord>;
  const effects = {
    update: () => Promise.reject(new Error('cannot update a stopped container')),
    isAlive: ({ init }: Pick<ContainerRecord, 'init'>) => alive.includes(init?.pid ?? 0),
  };
  const change = { resources: {}, adjustments: [], record: () => Promise.resolve() } as unknown;
  const resources = change as Parameters<typeof updateContainer>[2];
  return updateContainer({ records, effects }, record.id, resources, signal);
}

test('an update that loses to the exit of its container is refused as after the exit', () =>
  assert.rejects(refused([7]), { code: 'RUNTIME_CONTAINER_WRONG_STATE', message: /it is exited/u }));

test('a runtime that refuses the update of a living container is quoted', () =>
  assert.rejects(refused([7, 8]), { message: 'cannot update a stopped container' }));

test('an update that a stop of the container cuts off says so, whatever the runtime reports', async () => {
  const stopped = AbortSignal.abort(new Error('it is being stopped'));
  for (const alive of [[7], [7, 8]]) await assert.rejects(refused(alive, stopped), /it is being stopped/u);
});
