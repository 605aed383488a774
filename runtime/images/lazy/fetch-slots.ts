/**
 * Turns for the fetches from one registry. What a process waits for goes first: fetches in the background
 * begin only when nothing is demanded, except for one. So a registry that hangs delays nobody but those who
 * need it, and no more chunks than slots are in memory. Layers take turns: one whose readers want a thousand
 * chunks delays another one by one chunk.
 */
export interface FetchSlots {
  /**
   * Calls `act` when it is its turn, and waits for it.
   * @param layer whose turn it is
   * @throws what `act` throws; the signal's reason
   */
  run<T>(
    urgency: 'demanded' | 'background',
    act: () => Promise<T>,
    signal: AbortSignal,
    layer: object,
  ): Promise<T>;
}

interface Waiting {
  readonly begin: () => void;
}

/** Takes the first of the layer whose turn it is, which then comes after all others. */
function takeNext(queue: Map<object, Waiting[]>): Waiting | undefined {
  for (const [layer, waiting] of queue) {
    const first = waiting.shift();
    queue.delete(layer);
    if (waiting.length > 0) queue.set(layer, waiting);
    return first;
  }
  return undefined;
}

export function createFetchSlots(limits: {
  readonly demanded: number;
  readonly background: number;
}): FetchSlots {
  /** What waits, by layer; the layer whose turn is next comes first. */
  const queues = { demanded: new Map<object, Waiting[]>(), background: new Map<object, Waiting[]>() };
  const active = { demanded: 0, background: 0 };

  function mayBegin(urgency: 'demanded' | 'background'): boolean {
    if (urgency === 'demanded') return active.demanded < limits.demanded;
    const isBusy = active.demanded > 0 || queues.demanded.size > 0;
    return active.background < (isBusy ? Math.min(1, limits.background) : limits.background);
  }

  function beginNext(): void {
    for (const urgency of ['demanded', 'background'] as const)
      while (queues[urgency].size > 0 && mayBegin(urgency)) takeNext(queues[urgency])?.begin();
  }

  function turn(urgency: 'demanded' | 'background', signal: AbortSignal, layer: object): Promise<void> {
    const queue = queues[urgency];
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
      const left = queue.get(layer)?.filter((each) => each !== waiting) ?? [];
      if (left.length > 0) queue.set(layer, left);
      else queue.delete(layer);
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', leave, { once: true });
    const own = queue.get(layer);
    if (own === undefined) queue.set(layer, [waiting]);
    else own.push(waiting);
    beginNext();
    return promise;
  }

  return {
    async run(urgency, act, signal, layer) {
      await turn(urgency, signal, layer);
      try {
        return await act();
      } finally {
        active[urgency] -= 1;
        beginNext();
      }
    },
  };
}
