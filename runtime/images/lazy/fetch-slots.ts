export type Urgency = 'demanded' | 'early' | 'background';

/**
 * Limits the concurrent fetches from one registry. A fetch for which a process waits goes first.
 * Background fetches begin only when no process has waited for a while, and when no container is being
 * started. So they take neither the link nor the processor from a process that starts. If this lasts too
 * long, one background fetch at a time begins. A registry that hangs delays only its own readers, and
 * memory contains no more chunks than there are slots. Layers take turns: a layer whose readers want a
 * thousand chunks delays another layer by one chunk.
 */
export interface FetchSlots {
  /**
   * Calls `act` when it is its turn, and waits for it. An early fetch is a background fetch that begins
   * also while a container is being started: a process will probably wait for it.
   * @param layer whose turn it is
   * @throws what `act` throws; the signal's reason
   */
  run<T>(urgency: Urgency, act: () => Promise<T>, signal: AbortSignal, layer: object): Promise<T>;
  /** Holds background fetches back, because a container will probably start now. */
  hold(): void;
}

/** Milliseconds for which background fetches are held back. */
export interface HoldTimes {
  /** After {@link FetchSlots.hold}. */
  readonly startMs: number;
  /** After a fetch for which a process waited. */
  readonly quietMs: number;
  /** At most, without a break. */
  readonly mostMs: number;
}

const defaultHoldTimes: HoldTimes = { startMs: 1_000, quietMs: 100, mostMs: 3_000 };

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

export function createFetchSlots(
  limits: { readonly demanded: number; readonly background: number },
  times: HoldTimes = defaultHoldTimes,
): FetchSlots {
  /** The waiting fetches by layer; the layer whose turn is next comes first. */
  const queues = {
    demanded: new Map<object, Waiting[]>(),
    early: new Map<object, Waiting[]>(),
    background: new Map<object, Waiting[]>(),
  };
  const active = { demanded: 0, early: 0, background: 0 };
  /** When background fetches may begin, and since when they are held back without a break. */
  let [quietAt, heldSince] = [-Infinity, Infinity];
  let timer: NodeJS.Timeout | undefined;

  const isDemanded = (): boolean => active.demanded > 0 || queues.demanded.size > 0;

  function hold(ms: number): void {
    const now = performance.now();
    if (now >= quietAt && !isDemanded()) heldSince = now;
    quietAt = Math.max(quietAt, now + ms);
  }

  function mayBegin(urgency: Urgency): boolean {
    if (urgency === 'demanded') return active.demanded < limits.demanded;
    const now = performance.now();
    const running = active.early + active.background;
    if (!isDemanded() && (urgency === 'early' || now >= quietAt)) return running < limits.background;
    return now >= heldSince + times.mostMs && running < Math.min(1, limits.background);
  }

  function beginNext(): void {
    for (const urgency of ['demanded', 'early', 'background'] as const)
      while (queues[urgency].size > 0 && mayBegin(urgency)) takeNext(queues[urgency])?.begin();
    clearTimeout(timer);
    // The end of a fetch comes here too.
    const now = performance.now();
    const later = (at: number): number => (at > now ? at : Infinity);
    const next = Math.min(later(quietAt), later(heldSince + times.mostMs));
    if (queues.early.size + queues.background.size > 0 && next < Infinity)
      timer = setTimeout(beginNext, Math.ceil(next - now));
  }

  function turn(urgency: Urgency, signal: AbortSignal, layer: object): Promise<void> {
    const queue = queues[urgency];
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting: Waiting = {
      begin() {
        signal.removeEventListener('abort', leave);
        if (urgency === 'demanded') hold(times.quietMs);
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
        if (urgency === 'demanded') hold(times.quietMs);
        active[urgency] -= 1;
        beginNext();
      }
    },
    hold: () => {
      hold(times.startMs);
    },
  };
}
