import pLimit from 'p-limit';

/** Turns for commands of the runtime: few at once, and none for long. */
export interface Slots {
  /** Acts in turn. */
  run<T>(act: () => Promise<T>): Promise<T>;
  /** Acts that hold a slot or wait for one. */
  count(): number;
}

/**
 * Runtimes that all start at once only get in each other's and the daemon's way: a few a processor keep them all busy. One that takes long
 * waits for something else than a processor, such as a file server that does not answer: others need not wait with it.
 * @param mostMs after which an act no longer holds its slot
 */
export function createSlots(atOnce: number, mostMs: number): Slots {
  const limited = pLimit(atOnce);
  return {
    run: <T>(act: () => Promise<T>) => {
      const done = Promise.withResolvers<T>();
      void limited(async () => {
        const acting = act();
        acting.then(done.resolve, done.reject);
        const enough = Promise.withResolvers<undefined>();
        const timer = setTimeout(enough.resolve, mostMs, undefined);
        await Promise.race([acting.catch(() => undefined), enough.promise]);
        // It would hold the process that has nothing else to do.
        clearTimeout(timer);
      });
      return done.promise;
    },
    count: () => limited.activeCount + limited.pendingCount,
  };
}
