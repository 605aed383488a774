/** Lets peers have their work begun in turn. */
export interface Turns {
  /** Resolves when the next work of this peer may begin: at once where nobody waits. */
  take(peer: string): Promise<void>;
}

/** How much is begun before whatever else the thread has to do gets its turn. */
const atOnce = 8;

/**
 * One piece of work of each peer that waits, then the next of each: however much one peer asks at once, another waits for no more than one piece of
 * each of the others. What has begun is not waited for.
 */
export function createTurns(): Turns {
  const waiting = new Map<string, (() => void)[]>();
  let busy = false;
  const next = (): void => {
    for (let count = 0; count < atOnce; count += 1) {
      const [first] = waiting;
      if (first === undefined) {
        busy = false;
        return;
      }
      const [peer, queue] = first;
      const begin = queue.shift();
      // To the end of the round.
      waiting.delete(peer);
      if (queue.length > 0) waiting.set(peer, queue);
      begin?.();
    }
    setImmediate(next);
  };
  return {
    take(peer) {
      if (!busy) {
        busy = true;
        setImmediate(next);
        return Promise.resolve();
      }
      return new Promise((resolve) => {
        const queue = waiting.get(peer);
        if (queue === undefined) waiting.set(peer, [resolve]);
        else queue.push(resolve);
      });
    },
  };
}
