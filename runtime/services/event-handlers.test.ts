import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerRecord } from '../containers/record.ts';
import { criCodec } from '../cri/contract/services.ts';
import { ContainerEventType } from '../cri/contract/contract.types.ts';
import type { ContainerEventResponse } from '../cri/contract/contract.types.ts';
import { policyEventType, policyReasons } from '../events/policy-events.ts';
import { encodeEvent } from './event-handlers.ts';

const codec = criCodec<ContainerEventResponse>('ContainerEventResponse');
const type = ContainerEventType.CONTAINER_STARTED_EVENT;

/** A running container. @param read is called whenever its configuration is read */
function container(id: string, read: () => void = () => undefined): ContainerRecord {
  const config = { metadata: { name: id, attempt: 1 }, labels: { of: id }, annotations: {}, mounts: [] };
  const user = { uid: 0, gid: 0, additionalGids: [] };
  const record = {
    ...{ id, sandboxId: 's', phase: 'running', startedAt: 5n, stopSignal: 'TERM', user },
    message: '',
  };
  return Object.defineProperty(record, 'config', {
    get: () => (read(), config),
  }) as unknown as ContainerRecord;
}

const decoded = (event: Omit<Parameters<typeof encodeEvent>[0], 'at' | 'sandbox'>) =>
  codec.decode(encodeEvent({ ...event, at: '7', sandbox: undefined }));

test('each event contains all containers of the pod, in order', () => {
  const containers = ['a', 'b', 'c'].map((id) => container(id));
  for (const id of ['a', 'b']) {
    const event = decoded({ id, type, containers });
    assert.deepEqual([event.containerId, event.containerEventType, event.createdAt], [id, type, 7n]);
    assert.deepEqual(
      event.containersStatuses.map((status) => [status.id, status.metadata?.name, status.labels['of']]),
      [
        ['a', 'a', 'a'],
        ['b', 'b', 'b'],
        ['c', 'c', 'c'],
      ],
    );
  }
});

test('the status of a container is encoded once, however many events of its pod contain it', () => {
  let reads = 0;
  const containers = Array.from({ length: 20 }, (_, index) => container(`c${index}`, () => (reads += 1)));
  decoded({ id: 'c0', type, containers });
  const ofFirst = reads;
  for (const { id } of containers) decoded({ id, type, containers });
  assert.equal(reads, ofFirst);
});

test('a policy event changes only the status of its container, and only in this event', () => {
  const containers = ['a', 'b'].map((id) => container(id));
  const policy = { reason: policyReasons.out, message: 'a rule refuses it' };
  const reasons = (event: ContainerEventResponse) => event.containersStatuses.map(({ reason }) => reason);
  assert.deepEqual(reasons(decoded({ id: 'b', type, containers })), ['', '']);
  assert.deepEqual(reasons(decoded({ id: 'b', type: policyEventType, policy, containers })), [
    '',
    'OutOfPolicy',
  ]);
  assert.deepEqual(reasons(decoded({ id: 'b', type, containers })), ['', '']);
});
