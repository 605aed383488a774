import type { KeyedQueue } from '../../base/queues/index.ts';

/** Acts under a lock that another request can end, whether they wait or are in progress. */
export interface EndableActs {
  /** Runs one under the lock. @param act gets the signal that ends it @throws its error */
  run<T>(key: string, act: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Ends all acts of this lock. @param why their error */
  endAll(key: string, why: Error): void;
}

/** Creates the acts under the locks of pods and containers. */
export function createEndableActs(lock: KeyedQueue['run']): EndableActs {
  const byKey = new Map<string, Set<AbortController>>();
  return {
    run: async (key, act) => {
      const mine = new AbortController();
      const ofKey = byKey.get(key) ?? new Set();
      byKey.set(key, ofKey.add(mine));
      try {
        return await lock(key, () => act(mine.signal));
      } finally {
        ofKey.delete(mine);
        if (ofKey.size === 0) byKey.delete(key);
      }
    },
    endAll: (key, why) => {
      for (const act of byKey.get(key) ?? []) act.abort(why);
    },
  };
}
