import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ValidateContainerAdjustmentRequest } from '../protocol/contract.types.ts';
import { createAdjuster } from './creation.ts';
import { config, container, openNode, pod } from './node.fixture.ts';
import { createOngoing } from './ongoing.ts';

const request = {
  ...{ id: 'c1', config, sandbox: pod, imageId: 'i', verdictId: 'v', createdAt: '1' },
};
const adjusts = { CreateContainer: () => ({ adjust: { env: [{ key: 'A', value: '1' }] } }) };

describe('a container that plugins adjusted', () => {
  it('is reported as stopped and removed if it does not exist in the end', async () => {
    const { node, calls } = await openNode(adjusts);
    const adjuster = createAdjuster(node, createOngoing());
    await adjuster.adjust(request);
    calls.length = 0;
    adjuster.ended('c1');
    assert.deepEqual(calls, ['StopContainer', 'RemoveContainer']);
  });

  it('is reported as stopped and removed if a plugin refused it', async () => {
    const { node, calls } = await openNode({
      ValidateContainerAdjustment: () => ({ reject: true, reason: 'no' }),
    });
    const adjuster = createAdjuster(node, createOngoing());
    await assert.rejects(adjuster.adjust(request), { code: 'NRI_NOT_ALLOWED' });
    calls.length = 0;
    adjuster.ended('c1');
    assert.deepEqual(calls, ['StopContainer', 'RemoveContainer']);
  });

  it('is reported as stopped and removed if what remains of it is undone later', async () => {
    const { node, calls } = await openNode(adjusts);
    const adjuster = createAdjuster(node, createOngoing());
    await adjuster.adjust(request);
    await node.containerRecords.put({ ...container, phase: 'creating' });
    calls.length = 0;
    adjuster.ended('c1');
    assert.deepEqual(calls, ['StopContainer', 'RemoveContainer']);
  });

  it('is not reported as removed once it is created', async () => {
    const { node, calls } = await openNode(adjusts);
    const adjuster = createAdjuster(node, createOngoing());
    await adjuster.adjust(request);
    await node.containerRecords.put(container);
    calls.length = 0;
    adjuster.ended('c1');
    adjuster.ended('another');
    assert.deepEqual(calls, []);
  });

  it('is validated together with the updates of other containers', async () => {
    const seen: unknown[] = [];
    const resources = { memory: { limit: { value: 4096 } }, unified: { 'memory.high': '1' } };
    const { node, counted } = await openNode({
      CreateContainer: () => ({ update: [{ containerId: 'other', linux: { resources } }] }),
      ValidateContainerAdjustment: (asked) => {
        const { update, owners } = asked as ValidateContainerAdjustmentRequest;
        seen.push(
          update.map(({ containerId, linux }) => [containerId, linux?.resources?.memory?.limit?.value]),
          update.map(({ linux }) => linux?.resources?.unified),
          owners?.owners['other']?.simple.map(({ key }) => key),
        );
        return { reject: true, reason: 'no' };
      },
    });
    const adjuster = createAdjuster(node, createOngoing());
    await assert.rejects(adjuster.adjust(request), { code: 'NRI_NOT_ALLOWED' });
    assert.deepEqual(seen, [[['other', 4096]], [{ 'memory.high': '1' }], [8]]);
    assert.deepEqual(counted, ['refused'], 'no update was applied');
  });

  it('counts once as refused if an update that must not fail fails', async () => {
    const { node, counted } = await openNode({
      CreateContainer: () => ({ update: [{ containerId: 'unknown' }] }),
    });
    const adjuster = createAdjuster(node, createOngoing());
    await assert.rejects(adjuster.adjust(request), { code: 'NRI_BAD_ADJUSTMENT' });
    adjuster.ended('c1');
    assert.deepEqual(counted, ['refused']);
  });
});
