import type { SerialActs } from './serial-acts.ts';

/** Releases the resources of services that the members on this host left, after a delay. */
export interface DelayedEnds {
  /** Releases the service's resources after the delay. Starts the delay again if the service is waiting. */
  add(service: string): void;
}

/**
 * Releases one service after the other. After a failure, all due services wait for the next attempt, because
 * each attempt takes the deadline of one call while etcd does not answer.
 * @param end releases one service's resources, or does nothing if it was joined again
 * @param delays in ms: before the resources of a service are released, and between attempts
 */
export function createDelayedEnds(
  acts: SerialActs,
  end: (service: string) => Promise<void>,
  { endAfterMs, retryMs }: { readonly endAfterMs: number; readonly retryMs: number },
): DelayedEnds {
  /** The time from which a service may end, by service. */
  const ends = new Map<string, number>();
  let isRetrying = false;

  const endDue = async (): Promise<void> => {
    try {
      for (const [service, at] of ends) {
        if (at > performance.now()) continue;
        await end(service);
        // A service that was added meanwhile waits for its own time.
        if (ends.get(service) === at) ends.delete(service);
      }
      isRetrying = false;
    } catch {
      isRetrying = true;
      acts.later(retryMs, endDue);
    }
  };

  return {
    add(service) {
      ends.set(service, performance.now() + endAfterMs);
      // A timer may fire up to 1 ms early.
      acts.later(endAfterMs + 1, () => (isRetrying ? Promise.resolve() : endDue()));
    },
  };
}
