import { PortcullisError } from '../../base/errors/index.ts';

/** How much one client may leave unread. */
export interface QueueLimits {
  readonly events: number;
  readonly bytes: number;
}

/**
 * The events that wait for one client. Reading ends with an error: the client has ended, the daemon stops, or
 * events were lost.
 */
export interface ClientQueue extends AsyncIterable<Uint8Array> {
  /**
   * Adds an event; never waits. @returns how many events the client lost with this one, itself included; 0:
   * it is queued
   */
  push(event: Uint8Array): number;
  /** Makes reading fail from now on; waiting events are dropped. */
  end(reason: unknown): void;
  readonly length: number;
}

/**
 * Creates a bounded queue. A client that is too slow loses all waiting events at once: it can get the missed
 * changes only from a list, which contains more than old events. Its next read fails with
 * RUNTIME_EVENTS_LOST, which says how many events it missed; until then no events are queued for it
 * (docs/decisions/0012).
 */
export function createClientQueue(limits: QueueLimits, onEnd: () => void): ClientQueue {
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  let lost = 0;
  let ended: { readonly reason: unknown } | undefined;
  let wake: () => void = () => undefined;

  const drop = (): number => {
    const count = waiting.length;
    waiting = [];
    bytes = 0;
    return count;
  };
  async function* read(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        if (ended !== undefined) throw ended.reason;
        if (lost > 0) throw eventsLost(lost);
        const event = waiting.shift();
        if (event === undefined) await new Promise<void>((resolve) => (wake = resolve));
        else {
          bytes -= event.length;
          yield event;
        }
      }
    } finally {
      onEnd();
    }
  }
  const reader = read();
  return {
    push: (event) => {
      if (ended !== undefined) return 0;
      if (lost === 0 && waiting.length < limits.events && bytes + event.length <= limits.bytes) {
        waiting.push(event);
        bytes += event.length;
        wake();
        return 0;
      }
      const cost = drop() + 1;
      lost += cost;
      wake();
      return cost;
    },
    end: (reason) => {
      ended ??= { reason };
      drop();
      onEnd();
      wake();
    },
    get length() {
      return waiting.length;
    },
    [Symbol.asyncIterator]: () => reader,
  };
}

function eventsLost(count: number): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_EVENTS_LOST',
    kind: 'data-loss',
    attempted: 'send events to',
    on: 'this client',
    why: `it read too slowly and missed ${count} events`,
    fix: 'list pods and containers to get the current state, and request events again',
    details: { lost: String(count) },
  });
}
