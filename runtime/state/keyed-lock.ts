/** Runs `body` exclusively among all bodies of the same key, in order of arrival. */
export type KeyedLock = <T>(key: string, body: () => Promise<T>) => Promise<T>;

/** One queue per key. A key costs nothing once its queue is empty. */
export function keyedLock(): KeyedLock {
  const tails = new Map<string, Promise<unknown>>();
  return async (key, body) => {
    const before = tails.get(key) ?? Promise.resolve();
    const mine = before.then(body, body);
    const tail = mine.catch(() => undefined);
    tails.set(key, tail);
    try {
      return await mine;
    } finally {
      if (tails.get(key) === tail) tails.delete(key);
    }
  };
}
