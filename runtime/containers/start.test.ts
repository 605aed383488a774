import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failure } from '../../base/errors/index.ts';
import type { ContainerRecord } from './record.ts';
import { startContainer } from './start.ts';

/** Starts a container whose process a stop has killed, in the words of crun. Returns its last record. */
async function startOfKilled(code: string, isStopping: boolean): Promise<ContainerRecord> {
  let record = { id: 'c'.repeat(64), sandboxId: 's', phase: 'created' } as unknown as ContainerRecord;
  const why = 'container `c` is not running';
  const deps = {
    records: {
      find: () => record,
      list: () => [record],
      put: (next: ContainerRecord) => Promise.resolve(void (record = next)),
    },
    effects: {
      raiseNetwork: () => Promise.resolve(),
      now: () => '1',
      start: () => Promise.reject(failure(code, 'precondition', 'run crun start for', 'c', why, 'x')),
      kill: () => undefined,
    },
    exits: { settle: () => undefined },
    requireSandbox: () => ({ id: 's', phase: 'ready' }),
    isStopping: () => isStopping,
  } as unknown as Parameters<typeof startContainer>[0];
  const expected = isStopping
    ? { code: 'RUNTIME_CONTAINER_WRONG_STATE', message: /it is being stopped/u }
    : { code };
  await assert.rejects(startContainer(deps, record.id), expected);
  return record;
}

test('a start that loses to the stop of its container is refused as during the stop', async () => {
  for (const code of ['RUNTIME_OCI_FAILED', 'RUNTIME_START_FAILED'])
    assert.equal((await startOfKilled(code, true)).message, 'it is being stopped');
});

test('the failure of a start is quoted if nothing stops the container', async () => {
  assert.equal((await startOfKilled('RUNTIME_OCI_FAILED', false)).message, 'container `c` is not running');
});
