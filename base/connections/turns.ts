/** Starts the work of peers in turn. */
export interface Turns {
  /** Resolves when the next work of this peer may begin: at once if no other work waits. */
  take(peer: string): Promise<void>;
}

/**
 * Starts one piece of work of each waiting peer, then the next piece of each. However much one peer asks for
 * at once, another peer waits for at most one piece of each of the others. Work that has begun is not
 * awaited.
 * @param atOnce how many pieces of work begin before other work of the thread gets its turn
 */
export function createTurns(atOnce = 8): Turns {
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
      // This moves the peer to the end of the round.
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
