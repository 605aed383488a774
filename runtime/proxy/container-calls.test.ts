import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { criCodec } from '../cri/contract/services.ts';
import type {
  ContainerStatusRequest,
  ContainerStatusResponse,
  LinuxContainerResources,
  UpdateContainerResourcesRequest,
} from '../cri/contract/contract.types.ts';
import { nothingAsked } from '../oci/profile-bounds.ts';
import type { InterceptedCall } from './calls.ts';
import { containerCalls } from './container-calls.ts';
import type { ContainerCallsDeps } from './container-calls.ts';
import type { ProxyContainer } from './records.ts';

const updates = criCodec<UpdateContainerResourcesRequest>('UpdateContainerResourcesRequest');
const statusRequests = criCodec<ContainerStatusRequest>('ContainerStatusRequest');
const statuses = criCodec<ContainerStatusResponse>('ContainerStatusResponse');
const creations = { list: () => [] };

test('an update is checked against the limits after the previous update', async () => {
  const bounded = {
    limits: { memory: 1000, swap: 0 },
    resources: { ...nothingAsked, memoryLimitInBytes: 1000 },
  };
  let record = { id: 'c1', bounded } as unknown as ProxyContainer;
  const containers = {
    find: () => record,
    get: () => record,
    put: (changed: ProxyContainer) => Promise.resolve(void (record = changed)),
  };
  const calls = containerCalls({ records: { containers, creations } } as unknown as ContainerCallsDeps);
  const update = (linux: Partial<LinuxContainerResources>): Promise<unknown> | undefined =>
    calls['RuntimeService/UpdateContainerResources']?.({
      request: updates.encode({ containerId: 'c1', linux }),
      forward: async (message: Uint8Array) => {
        await turn();
        return { headers: {}, message: Buffer.from(message), trailers: {} };
      },
    } as unknown as InterceptedCall);
  const [lowered, swapped] = await Promise.allSettled([
    update({ memoryLimitInBytes: 100 }),
    update({ memorySwapLimitInBytes: 1000 }),
  ]);
  assert.equal(lowered.status, 'fulfilled');
  assert.equal(swapped.status, 'rejected');
  assert.match(String(swapped.reason), /swap of 1000 bytes/);
  assert.equal(record.bounded?.resources.memoryLimitInBytes, 100);
});

test('an update is limited if the beginning of the id means several records, and one container', async () => {
  const bounded = { limits: { memory: 1000 }, resources: { ...nothingAsked, memoryLimitInBytes: 1000 } };
  const held = ['c1', 'c2'].map((id) => ({ id, bounded }) as unknown as ProxyContainer);
  const containers = {
    find: () => undefined,
    get: (id: string) => held.find((one) => one.id === id),
    list: () => held,
    put: () => Promise.resolve(),
  };
  const calls = containerCalls({ records: { containers, creations } } as unknown as ContainerCallsDeps);
  const forwarded: string[] = [];
  const update = (containerId: string): Promise<unknown> | undefined =>
    calls['RuntimeService/UpdateContainerResources']?.({
      request: updates.encode({ containerId, linux: { memoryLimitInBytes: 2000 } }),
      ask: (rpc: string, message: Uint8Array) => {
        assert.equal(
          `${rpc} ${statusRequests.decode(message).containerId}`,
          'RuntimeService/ContainerStatus c',
        );
        return Promise.resolve(statuses.encode({ status: { id: 'c2' } }));
      },
      forward: (message: Uint8Array) => {
        forwarded.push(updates.decode(message).containerId);
        return Promise.resolve({ headers: {}, message: Buffer.from(message), trailers: {} });
      },
    } as unknown as InterceptedCall);
  await assert.rejects(update('c') ?? Promise.resolve(), /memory of 2000 bytes/);
  await update('older');
  assert.deepEqual(forwarded, ['older']);
});
