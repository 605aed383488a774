import type { Scheduler } from '../scheduler.ts';

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

/** Runs `body` while timers of the process are those of the simulated clock. */
export async function withTimersOf<T>(scheduler: Scheduler, body: () => Promise<T>): Promise<T> {
  const { setTimeout, clearTimeout, setInterval, clearInterval } = globalThis;
  const stop = (timer: Timer | undefined): void => timer?.stop();
  const once = (act: () => void, ms = 0): Timer =>
    timerOf((timer) => {
      timer.stop = scheduler.after(ms, act);
    });
  const again = (act: () => void, ms = 0): Timer =>
    timerOf((timer) => {
      const next = (): void => {
        timer.stop = scheduler.after(ms, () => {
          next();
          act();
        });
      };
      next();
    });
  Object.assign(globalThis, { setTimeout: once, clearTimeout: stop, setInterval: again, clearInterval: stop });
  try {
    return await body();
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout, setInterval, clearInterval });
  }
}
