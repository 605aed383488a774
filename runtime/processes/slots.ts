import pLimit from 'p-limit';

/** Slots for runtime commands: few commands run at once, and no command blocks the others for long. */
export interface Slots {
  /** Runs the act when a slot is free. */
  run<T>(act: () => Promise<T>): Promise<T>;
  /** The number of acts that hold a slot or wait for one. */
  count(): number;
}

/**
 * Runtimes that all start at once slow down each other and the daemon; a few per processor keep all
 * processors busy. A runtime that takes long waits for something other than a processor, such as a file
 * server that does not answer: others need not wait with it.
 * @param mostMs after this time an act no longer holds its slot. Default: 10 seconds
 */
export function createSlots(atOnce: number, mostMs = 10_000): Slots {
  const limited = pLimit(atOnce);
  return {
    run: <T>(act: () => Promise<T>) => {
      const done = Promise.withResolvers<T>();
      void limited(async () => {
        // An act that throws at once must not end the daemon either.
        const acting = Promise.resolve().then(act);
        acting.then(done.resolve, done.reject);
        const enough = Promise.withResolvers<undefined>();
        const timer = setTimeout(enough.resolve, mostMs, undefined);
        await Promise.race([acting.catch(() => undefined), enough.promise]);
        // The timer would keep a process alive that has nothing else to do.
        clearTimeout(timer);
      });
      return done.promise;
    },
    count: () => limited.activeCount + limited.pendingCount,
  };
}
