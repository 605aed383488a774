/**
 * Runs bodies of the same key one after another, in the order of the calls. Bodies of other keys do not wait.
 */
export interface KeyedQueue {
  /**
   * Runs `body` when all earlier bodies of the key have ended. A body that fails does not stop the next one.
   * @returns its result @throws its error
   */
  readonly run: <T>(key: string, body: () => Promise<T>) => Promise<T>;
  /** Returns the keys whose bodies run or wait. */
  readonly keys: () => IterableIterator<string>;
  /** Returns whether a body of the key runs or waits. */
  readonly has: (key: string) => boolean;
  /** Resolves when no body runs or waits. */
  readonly settled: () => Promise<void>;
}

/** A key costs nothing once its queue is empty. */
export function createKeyedQueue(): KeyedQueue {
  const tails = new Map<string, Promise<unknown>>();
  return {
    async run(key, body) {
      const before = tails.get(key) ?? Promise.resolve();
      const mine = before.then(body, body);
      const tail = mine.catch(() => undefined);
      tails.set(key, tail);
      try {
        return await mine;
      } finally {
        if (tails.get(key) === tail) tails.delete(key);
      }
    },
    keys: () => tails.keys(),
    has: (key) => tails.has(key),
    async settled() {
      while (tails.size > 0) await Promise.allSettled(tails.values());
    },
  };
}
