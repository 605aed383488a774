import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import { enforcementEventId, policyEventType } from './policy-events.ts';
import type { EnforcementChange, PolicyChange } from './policy-events.ts';
import type { ContainerEventType } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { now } from '../state/identity.ts';
import type { WatchedRecords } from '../state/records.ts';
import { createClientQueue } from './client-queue.ts';
import type { ClientQueue, QueueLimits } from './client-queue.ts';
import { containerEvents, sandboxEvents } from './transitions.ts';

/** One event, with the state of the pod at that moment. */
export interface LifecycleEvent {
  /** The id of a container or of a sandbox. */
  readonly id: string;
  readonly type: ContainerEventType | typeof policyEventType;
  /** Only in a policy event. */
  readonly policy?: PolicyChange;
  /** Only in a policy event about the node; no pod has its id. */
  readonly enforcement?: EnforcementChange;
  /** Nanoseconds since 1970, decimal; later events have later times. */
  readonly at: string;
  readonly sandbox: SandboxRecord | undefined;
  /** The containers of that sandbox that a list would show. */
  readonly containers: readonly ContainerRecord[];
}

export interface EventHub {
  /**
   * Returns the encoded events from this call on, until `signal` is aborted. A client that reads too slowly
   * gets RUNTIME_EVENTS_LOST. Policy events are not part of the CRI: only a client that asks for them gets
   * them.
   * @throws PortcullisError RUNTIME_TOO_MANY_WATCHERS
   */
  subscribe(signal: AbortSignal, policyEvents?: boolean): AsyncIterable<Uint8Array>;
  /**
   * Informs the clients that asked for policy events that a container is out of policy, or in policy again.
   */
  reportPolicy(container: ContainerRecord, change: PolicyChange): void;
  /** Informs the same clients whether the enforcement check of the node passes. */
  reportEnforcement(change: EnforcementChange): void;
  /** For metrics. */
  counts(): {
    readonly clients: number;
    readonly waiting: number;
    readonly sent: number;
    readonly lost: number;
  };
  /** Ends every stream, so that clients connect to the next daemon. */
  close(): void;
}

/** Enough for some hundred pods that stop at once; a kubelet reads events as fast as they arrive. */
const defaultLimits: QueueLimits = { events: 4096, bytes: 8 * 1024 * 1024 };
const mostClients = 64;

/**
 * Sends every durable change of a pod or container to every client. An event is encoded once, and not at all
 * without clients. Each client has its own bounded queue, so that no client waits for another. Events are not
 * repeated: a client that connects later, also after a restart of the daemon, lists first (as with containerd
 * and CRI-O).
 */
export function createEventHub(parts: {
  readonly sandboxes: Pick<WatchedRecords<SandboxRecord>, 'get' | 'onChange'>;
  readonly containers: Pick<WatchedRecords<ContainerRecord>, 'list' | 'onChange'>;
  readonly encode: (event: LifecycleEvent) => Uint8Array;
  readonly log: Logger;
  readonly limits?: QueueLimits;
}): EventHub {
  const { sandboxes, containers, encode, log, limits = defaultLimits } = parts;
  const clients = new Set<ClientQueue>();
  const policyClients = new WeakSet<ClientQueue>();
  let sent = 0;
  let lost = 0;

  const publish = (
    types: readonly ContainerEventType[],
    id: string,
    sandboxId: string,
    sandbox = sandboxes.get(sandboxId),
  ): void => {
    if (types.length === 0 || clients.size === 0) return;
    send(
      types.map((type) => ({ id, type })),
      sandboxId,
      sandbox,
      clients,
    );
  };
  const send = (
    events: readonly Pick<LifecycleEvent, 'id' | 'type' | 'policy' | 'enforcement'>[],
    sandboxId: string,
    sandbox: SandboxRecord | undefined,
    to: Iterable<ClientQueue>,
  ): void => {
    const shown = containers
      .list()
      .filter(({ sandboxId: of, phase }) => of === sandboxId && phase !== 'creating' && phase !== 'removing');
    const receivers = [...to];
    for (const { id, ...what } of events) {
      let event: Uint8Array;
      try {
        event = encode({ id, ...what, at: now(), sandbox, containers: shown });
      } catch (cause) {
        // The change is durable, and must not fail because its event cannot be sent; clients learn that an
        // event is missing.
        log.error(
          { id, cause: reasonOf(cause) },
          'an event could not be encoded; every client must list again',
        );
        for (const client of receivers) client.end(unencodable(id));
        return;
      }
      for (const client of receivers) {
        const cost = client.push(event);
        if (cost > 1)
          log.warn({ lost: cost }, 'a client reads events too slowly: its stream ends at its next read');
        lost += cost;
        if (cost === 0) sent += 1;
      }
    }
  };
  const unsubscribe = [
    sandboxes.onChange((change) => {
      const record = change.after ?? change.before;
      if (record !== undefined) publish(sandboxEvents(change), record.id, record.id, record);
    }),
    containers.onChange((change) => {
      const record = change.after ?? change.before;
      if (record !== undefined) publish(containerEvents(change), record.id, record.sandboxId);
    }),
  ];

  return {
    subscribe: (signal, policyEvents = false) => {
      if (clients.size >= mostClients) throw tooMany();
      const queue = createClientQueue(limits, () => {
        clients.delete(queue);
        signal.removeEventListener('abort', cancel);
      });
      const cancel = (): void => queue.end(signal.reason);
      signal.addEventListener('abort', cancel, { once: true });
      clients.add(queue);
      if (policyEvents) policyClients.add(queue);
      if (signal.aborted) cancel();
      return queue;
    },
    reportPolicy: (container, policy) => {
      const receivers = [...clients].filter((client) => policyClients.has(client));
      if (receivers.length === 0) return;
      send(
        [{ id: container.id, type: policyEventType, policy }],
        container.sandboxId,
        sandboxes.get(container.sandboxId),
        receivers,
      );
    },
    reportEnforcement: (enforcement) => {
      const receivers = [...clients].filter((client) => policyClients.has(client));
      if (receivers.length > 0)
        send([{ id: enforcementEventId, type: policyEventType, enforcement }], '', undefined, receivers);
    },
    counts: () => ({
      clients: clients.size,
      waiting: [...clients].reduce((sum, client) => sum + client.length, 0),
      sent,
      lost,
    }),
    close: () => {
      for (const stop of unsubscribe) stop();
      for (const client of [...clients]) client.end(closing());
    },
  };
}

function tooMany(): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_TOO_MANY_WATCHERS',
    kind: 'exhausted',
    attempted: 'send',
    on: 'events',
    why: `${mostClients} clients already get events`,
    fix: 'end one of those calls',
  });
}

function closing(): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_EVENTS_CLOSED',
    kind: 'unavailable',
    attempted: 'send',
    on: 'events',
    why: 'the daemon is stopping',
    fix: 'list again and request events when the daemon is running again',
  });
}

function unencodable(id: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_EVENTS_LOST',
    kind: 'data-loss',
    attempted: 'send an event about',
    on: id.slice(0, 13),
    why: 'it could not be encoded',
    fix: 'list pods and containers, request events again, and report this with the log of the daemon',
  });
}
