import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { reportEvents } from './events.ts';
import { container, openNode } from './node.fixture.ts';
import { createOngoing } from './ongoing.ts';

describe('the removal of a container', () => {
  for (const [what, last, expected] of [
    ['that runs', { phase: 'running', startedAt: '2' }, ['StopContainer', 'RemoveContainer']],
    ['that was not started', {}, ['StopContainer', 'RemoveContainer']],
    ['that has ended', { phase: 'exited', startedAt: '2', finishedAt: '3' }, ['RemoveContainer']],
  ] as const)
    it(`is reported after its stop, once: one ${what}`, async () => {
      const { node, calls } = await openNode();
      const record = { ...container, ...last };
      await node.containerRecords.put(record);
      const stop = reportEvents(node, createOngoing());
      await node.containerRecords.put({ ...record, phase: 'removing' });
      assert.deepEqual(calls, []);
      await node.containerRecords.delete(record.id);
      stop();
      assert.deepEqual(calls, expected);
    });
});
