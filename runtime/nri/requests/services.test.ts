import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ContainerService } from '../../containers/container-service.ts';
import { nothingAsked } from '../../oci/profile-bounds.ts';
import { container, openNode, pod } from './node.fixture.ts';
import { createOngoing } from './ongoing.ts';
import { podApproval, watchedContainers } from './services.ts';

describe('a pod that plugins approved', () => {
  it('is reported as stopped and removed if it is withdrawn', async () => {
    const { node, calls } = await openNode();
    const withdraw = await podApproval(node, createOngoing())(pod);
    assert.deepEqual(calls, ['RunPodSandbox']);
    await withdraw?.();
    assert.deepEqual(calls, ['RunPodSandbox', 'StopPodSandbox', 'RemovePodSandbox']);
  });
});

describe('the update of a container', () => {
  it('does not change its limits if an update of another container fails', async () => {
    const { node, updated } = await openNode({
      UpdateContainer: () => ({
        update: [{ containerId: 'unknown', linux: { resources: { cpu: { cpus: '1' } } } }],
      }),
    });
    await node.containerRecords.put(container);
    const service = watchedContainers(node, {
      ...node.containers(),
      require: () => container,
    } as unknown as ContainerService);
    await assert.rejects(service.update('c1', nothingAsked), { code: 'NRI_BAD_ADJUSTMENT' });
    assert.deepEqual(updated, []);
  });
});
