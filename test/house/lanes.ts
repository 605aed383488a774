import { cpus } from 'node:os';

interface Lanes<T> {
  /** Number of items in work at any time. */
  readonly least: number;
  /** Number of items in work while the machine has idle processors. Default: `least`. */
  readonly most?: number;
  /** Items that can begin only after `when`, when they are merged with those that still wait. */
  readonly later?: { readonly items: readonly T[]; readonly when: Promise<unknown> } | undefined;
  /** Returns how many processors were idle since the last call, on average. */
  readonly idle?: () => number;
  /** Time between two looks at the processors, in ms. */
  readonly everyMs?: number;
}

/** In processors. A program that is limited by one processor leaves some of it idle. */
const idleEnough = 0.2;

/**
 * Works on all items in their order, `least` at a time. While processors are idle, because the items in work
 * wait, it begins one more item at each look, up to `most`: a file that waits for a time limit occupies no
 * processor. It never begins more than `least` items on a machine that is busy with other work.
 * @throws what `work` throws, or the reason why `later.when` is rejected, after which no other item begins
 */
export async function inLanes<T>(
  items: readonly T[],
  work: (item: T) => Promise<void>,
  { least, most = least, later, idle = idleProcessors(), everyMs = 100 }: Lanes<T>,
): Promise<void> {
  let waiting = [...items];
  const inWork = new Set<Promise<void>>();
  /** The promise of `later`, until it is merged. */
  const pending = new Set<Promise<void>>();
  let isOver = false;
  const { promise: failed, reject } = Promise.withResolvers<never>();
  const begin = (): void => {
    const item = waiting.shift();
    if (item === undefined) return;
    const done: Promise<void> = work(item).then(() => {
      inWork.delete(done);
      if (inWork.size < least) begin();
    }, reject);
    inWork.add(done);
  };
  const timer = setInterval(() => {
    if (idle() >= idleEnough && inWork.size >= least && inWork.size < most) begin();
  }, everyMs);
  const fill = (): void => {
    while (!isOver && inWork.size < least && waiting.length > 0) begin();
  };
  if (later !== undefined) {
    const merged: Promise<void> = later.when.then(() => {
      waiting = interleave(waiting, later.items);
      pending.delete(merged);
      fill();
    });
    pending.add(merged);
  }
  try {
    fill();
    while (inWork.size + pending.size > 0) await Promise.race([failed, ...inWork, ...pending]);
  } finally {
    isOver = true;
    waiting = [];
    clearInterval(timer);
  }
}

/** Returns a function that returns how many processors were idle since its last call, on average. */
export function idleProcessors(): () => number {
  const read = (): { readonly at: number; readonly idleMs: number } => ({
    at: performance.now(),
    idleMs: cpus().reduce((sum, { times }) => sum + times.idle, 0),
  });
  let last = read();
  return () => {
    const now = read();
    const idle = (now.idleMs - last.idleMs) / Math.max(1, now.at - last.at);
    last = now;
    return idle;
  };
}

/**
 * Merges two lists so that both end together: short and long tests run beside each other from the first to
 * the last one.
 */
export function interleave<T>(some: readonly T[], others: readonly T[]): T[] {
  const placed = (items: readonly T[]): { readonly item: T; readonly place: number }[] =>
    items.map((item, index) => ({ item, place: (index + 0.5) / items.length }));
  return [...placed(some), ...placed(others)].sort((a, b) => a.place - b.place).map(({ item }) => item);
}
