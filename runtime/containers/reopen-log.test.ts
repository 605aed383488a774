import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerRecord } from './record.ts';
import { reopenContainerLog } from './reopen-log.ts';

/** Reopens the log of a running container, whose record becomes another one before the monitor fails. */
function lost(after: ContainerRecord['phase'] | undefined): Promise<void> {
  let phase: ContainerRecord['phase'] | undefined = 'running';
  const id = 'c'.repeat(64);
  const records = {
    find: () => (phase === undefined ? undefined : ({ id, phase } as unknown as ContainerRecord)),
  };
  const effects = {
    reopenLog: () => {
      phase = after;
      return Promise.reject(new Error('its monitor has ended'));
    },
  };
  return reopenContainerLog({ records, effects, lock: (_key, act) => act() }, id);
}

test('a reopening of a log that loses to the removal of its container does not advise to read the log', async () => {
  await assert.rejects(lost(undefined), { code: 'RUNTIME_CONTAINER_NOT_FOUND' });
  await assert.rejects(lost('removing'), { message: /it is being removed/u });
});

test('a reopening of a log that loses to the exit of its container is refused as after the exit', () =>
  assert.rejects(lost('exited'), { code: 'RUNTIME_CONTAINER_WRONG_STATE', message: /it is exited/u }));

test('a monitor that fails to reopen the log of a running container is quoted', () =>
  assert.rejects(lost('running'), { message: 'its monitor has ended' }));
