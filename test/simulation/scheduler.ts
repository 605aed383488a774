/** A small seeded generator (mulberry32): the same seed gives the same history. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Orders everything that happens: one pending step at a time, chosen by the seed; time passes only when nothing else can. */
export interface Scheduler {
  readonly random: () => number;
  now(): number;
  /** Resolves when the schedule comes to it. */
  step(): Promise<void>;
  sleep(ms: number): Promise<void>;
  /** What happens outside of the daemon, and also when that is killed meanwhile. */
  later(ms: number, act: () => void): void;
  /** Runs until `done` settles. Throws when nothing is left to run before. */
  runUntil<T>(done: Promise<T>): Promise<T>;
  /** Forgets every pending step and sleep of the daemon, as a killed process does. */
  clear(): void;
}

export function createScheduler(seed: number): Scheduler {
  const next = random(seed);
  let pending: (() => void)[] = [];
  let timers: { at: number; wake: () => void; outside: boolean }[] = [];
  let time = 0;
  const advance = (): boolean => {
    const index = Math.floor(next() * pending.length);
    const [chosen] = pending.splice(index, 1);
    if (chosen !== undefined) {
      chosen();
      return true;
    }
    timers.sort((a, b) => a.at - b.at);
    const timer = timers.shift();
    if (timer === undefined) return false;
    time = Math.max(time, timer.at);
    timer.wake();
    return true;
  };
  return {
    random: next,
    now: () => time,
    step: () => new Promise((resolve) => pending.push(resolve)),
    sleep: (ms) => new Promise((resolve) => timers.push({ at: time + ms, wake: resolve, outside: false })),
    later: (ms, act) => void timers.push({ at: time + ms, wake: act, outside: true }),
    clear: () => {
      pending = [];
      timers = timers.filter(({ outside }) => outside);
    },
    runUntil: async (done) => {
      let settled = false;
      const watched = done.finally(() => (settled = true));
      watched.catch(() => undefined);
      let idle = 0;
      while (!settled) {
        await new Promise((resolve) => setImmediate(resolve));
        if (settled) break;
        idle = advance() ? 0 : idle + 1;
        if (idle > 3) throw new Error('deadlock: a call waits and nothing is left to happen');
      }
      return watched;
    },
  };
}
