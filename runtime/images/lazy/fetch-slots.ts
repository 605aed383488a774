/**
 * Limits the concurrent fetches from one registry. A fetch for which a process waits goes first: while any
 * such fetch runs or waits, at most one background fetch begins. So a registry that hangs delays only its own
 * readers, and memory contains no more chunks than there are slots. Layers take turns: a layer whose readers
 * want a thousand chunks delays another layer by one chunk.
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
  /** The waiting fetches by layer; the layer whose turn is next comes first. */
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
