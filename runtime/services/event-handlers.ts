import { criCodec } from '../cri/contract/services.ts';
import type { ContainerEventResponse, ContainerEventType } from '../cri/contract/contract.types.ts';
import type { RuntimeServiceHandlers } from '../cri/handlers.ts';
import type { EventHub, LifecycleEvent } from '../events/hub.ts';
import { policyEventsHeader } from '../events/policy-events.ts';
import { containerStatus } from './container-messages.ts';
import { sandboxStatus } from './sandbox-messages.ts';

const codec = criCodec<ContainerEventResponse>('ContainerEventResponse');

/**
 * Encodes a cri-api ContainerEventResponse. A kubelet takes the whole pod's state from each event
 * (evented.go, GeneratePodStatus) and ignores an event without the sandbox's status.
 */
export function encodeEvent(event: LifecycleEvent): Uint8Array {
  return codec.encode({
    containerId: event.id,
    containerEventType: event.type as ContainerEventType,
    createdAt: event.at,
    ...(event.sandbox !== undefined && { podSandboxStatus: sandboxStatus(event.sandbox) }),
    containersStatuses:
      event.enforcement === undefined
        ? event.containers.map((record) => ({
            ...containerStatus(record),
            ...(event.policy !== undefined && record.id === event.id && event.policy),
          }))
        : [{ id: event.id, ...event.enforcement }],
  });
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
