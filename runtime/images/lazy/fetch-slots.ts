/**
 * Turns for the fetches from one registry. What a process waits for goes first: fetches in the background
 * begin only when nothing is demanded, except for one. So a registry that hangs delays nobody but those who
 * need it, and no more chunks than slots are in memory.
 */
export interface FetchSlots {
  /** Calls `act` when it is its turn, and waits for it. @throws what `act` throws; the signal's reason */
  run<T>(urgency: 'demanded' | 'background', act: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

interface Waiting {
  readonly begin: () => void;
}

export function createFetchSlots(limits: {
  readonly demanded: number;
  readonly background: number;
}): FetchSlots {
  const queues = { demanded: [] as Waiting[], background: [] as Waiting[] };
  const active = { demanded: 0, background: 0 };

  function mayBegin(urgency: 'demanded' | 'background'): boolean {
    if (urgency === 'demanded') return active.demanded < limits.demanded;
    const isBusy = active.demanded > 0 || queues.demanded.length > 0;
    return active.background < (isBusy ? Math.min(1, limits.background) : limits.background);
  }

  function beginNext(): void {
    for (const urgency of ['demanded', 'background'] as const)
      while (queues[urgency].length > 0 && mayBegin(urgency)) queues[urgency].shift()?.begin();
  }

  function turn(urgency: 'demanded' | 'background', signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting: Waiting = {
      begin() {
        signal.removeEventListener('abort', leave);
        active[urgency] += 1;
        resolve();
      },
    };
    const leave = (): void => {
      const at = queues[urgency].indexOf(waiting);
      if (at !== -1) queues[urgency].splice(at, 1);
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', leave, { once: true });
    queues[urgency].push(waiting);
    beginNext();
    return promise;
  }

  return {
    async run(urgency, act, signal) {
      await turn(urgency, signal);
      try {
        return await act();
      } finally {
        active[urgency] -= 1;
        beginNext();
      }
    },
  };
}
