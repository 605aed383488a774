import { orAborted } from '../../base/queues/index.ts';

/** Lets a limited number of tasks run at a time; the others wait in the order in which they came. */
export interface Turns {
  /**
   * Resolves when the caller may run; it then calls `leave` once. @throws the reason of `signal` when it is
   * aborted before that
   */
  enter(signal: AbortSignal | undefined): Promise<void>;
  leave(): void;
}

/** @param most at least 1 */
export function createTurns(most: number): Turns {
  const waiting = new Set<() => void>();
  let running = 0;

  const leave = (): void => {
    const [next] = waiting;
    if (next === undefined) {
      running -= 1;
      return;
    }
    // The turn passes to the next task: the number of running tasks stays the same.
    waiting.delete(next);
    next();
  };

  return {
    leave,
    async enter(signal) {
      if (running < most) {
        running += 1;
        return;
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.add(resolve);
      try {
        await orAborted(promise, signal);
      } catch (thrown) {
        // The turn may have come together with the cancellation.
        if (!waiting.delete(resolve)) leave();
        throw thrown;
      }
    },
  };
}
