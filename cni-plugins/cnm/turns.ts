/** Acts on one thing one after another, in the order in which they were asked for. */
export interface Turns {
  take<T>(key: string, act: () => Promise<T>): Promise<T>;
  /** Resolves when no act is under way. */
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
