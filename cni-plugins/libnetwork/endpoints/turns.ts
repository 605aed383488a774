/** Runs acts on the same object one after another, in the order of the requests. */
export interface Turns {
  take<T>(key: string, act: () => Promise<T>): Promise<T>;
  /** Resolves when no act is in progress. */
  settled(): Promise<void>;
}

export function createTurns(): Turns {
  const last = new Map<string, Promise<unknown>>();
  return {
    take(key, act) {
      const before = last.get(key);
      const turn = before === undefined ? act() : before.then(act, act);
      last.set(key, turn);
      void turn.catch(() => undefined).finally(() => last.get(key) === turn && last.delete(key));
      return turn;
    },
    async settled() {
      while (last.size > 0) await Promise.allSettled(last.values());
    },
  };
}
