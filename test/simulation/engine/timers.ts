import type { Scheduler } from './scheduler.ts';
import { ofThread } from './thread.ts';

interface Timer {
  stop: () => void;
  ref(): Timer;
  unref(): Timer;
}

function timerOf(begin: (timer: Timer) => void): Timer {
  const timer: Timer = { stop: () => undefined, ref: () => timer, unref: () => timer };
  begin(timer);
  return timer;
}

/** The timers and clocks of a process. */
export interface SimulatedTimers {
  readonly once: (act: () => void, ms?: number) => Timer;
  readonly again: (act: () => void, ms?: number) => Timer;
  readonly stop: (timer: Timer | undefined) => void;
}

export function timersOf(scheduler: Scheduler): SimulatedTimers {
  return {
    stop: (timer) => timer?.stop(),
    once: (act, ms = 0) =>
      timerOf((timer) => {
        timer.stop = scheduler.after(ms, ofThread(act));
      }),
    again: (act, ms = 0) => {
      const own = ofThread(act);
      return timerOf((timer) => {
        const next = (): void => {
          timer.stop = scheduler.after(ms, () => {
            next();
            own();
          });
        };
        next();
      });
    },
  };
}

/** Runs `body` while the process's timers are those of the simulated clock. */
export async function withTimersOf<T>(scheduler: Scheduler, body: () => Promise<T>): Promise<T> {
  const { setTimeout, clearTimeout, setInterval, clearInterval } = globalThis;
  const { once, again, stop } = timersOf(scheduler);
  Object.assign(globalThis, {
    setTimeout: once,
    clearTimeout: stop,
    setInterval: again,
    clearInterval: stop,
  });
  try {
    return await body();
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout, setInterval, clearInterval });
  }
}

/**
 * As {@link withTimersOf}; the clocks are simulated as well, and so is the turn that `setImmediate` waits
 * for.
 */
export async function withClocksOf<T>(scheduler: Scheduler, body: () => Promise<T>): Promise<T> {
  const { setImmediate } = globalThis;
  const [dateNow, performanceNow] = [Date.now, performance.now];
  const soon = (act: () => void): void => {
    const own = ofThread(act);
    void scheduler.step().then(own);
  };
  Object.assign(globalThis, { setImmediate: soon });
  Object.assign(Date, { now: scheduler.wall });
  Object.assign(performance, { now: scheduler.now });
  try {
    return await withTimersOf(scheduler, body);
  } finally {
    Object.assign(globalThis, { setImmediate });
    Object.assign(Date, { now: dateNow });
    Object.assign(performance, { now: performanceNow });
  }
}
