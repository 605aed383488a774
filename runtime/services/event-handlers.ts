import type { ContainerRecord } from '../containers/record.ts';
import { criCodec } from '../cri/contract/services.ts';
import type { ContainerEventResponse, ContainerEventType } from '../cri/contract/contract.types.ts';
import type { RuntimeServiceHandlers } from '../cri/handlers.ts';
import type { EventHub, LifecycleEvent } from '../events/hub.ts';
import { policyEventsHeader } from '../events/policy-events.ts';
import { containerStatus } from './container-messages.ts';
import { sandboxStatus } from './sandbox-messages.ts';

const codec = criCodec<ContainerEventResponse>('ContainerEventResponse');

/** The status of a container as the field of an event. A record is never changed, only replaced. */
const encodedStatuses = new WeakMap<ContainerRecord, Uint8Array>();

/**
 * Encodes a cri-api ContainerEventResponse. A kubelet takes the whole pod's state from each event
 * (evented.go, GeneratePodStatus) and ignores an event without the sandbox's status. Each container of the
 * pod is encoded once, and not in each event of another container.
 */
export function encodeEvent(event: LifecycleEvent): Uint8Array {
  const head = codec.encode({
    containerId: event.id,
    containerEventType: event.type as ContainerEventType,
    createdAt: event.at,
    ...(event.sandbox !== undefined && { podSandboxStatus: sandboxStatus(event.sandbox) }),
    ...(event.enforcement !== undefined && {
      containersStatuses: [{ id: event.id, ...event.enforcement }],
    }),
  });
  // protobuf.dev, "Encoding": the elements of a list of two messages, one after the other, form one list.
  return Buffer.concat([
    head,
    ...event.containers.map((record) =>
      event.policy !== undefined && record.id === event.id
        ? codec.encode({ containersStatuses: [{ ...containerStatus(record), ...event.policy }] })
        : encodedStatus(record),
    ),
  ]);
}

function encodedStatus(record: ContainerRecord): Uint8Array {
  const known = encodedStatuses.get(record);
  if (known !== undefined) return known;
  const encoded = codec.encode({ containersStatuses: [containerStatus(record)] });
  encodedStatuses.set(record, encoded);
  return encoded;
}

/** GetContainerEvents. Semantics: cri-api 0.37 RuntimeService. */
export function createEventHandlers(
  hub: Pick<EventHub, 'subscribe'>,
): Pick<RuntimeServiceHandlers, 'getContainerEvents'> {
  return {
    getContainerEvents: (_request, { signal, header }) =>
      hub.subscribe(signal, header(policyEventsHeader) !== undefined),
  };
}
