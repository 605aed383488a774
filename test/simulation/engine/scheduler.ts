import type { Decisions } from './decisions.ts';

/**
 * Orders everything that happens: one pending event at a time, as decided; time passes only when nothing else
 * can happen.
 */
export interface Scheduler {
  readonly decisions: Decisions;
  /** Returns milliseconds of a monotonic clock. */
  now(): number;
  /** Returns milliseconds since 1970 of the machine's clock. */
  wall(): number;
  /** Sets the machine's clock forward, or back. */
  jump(ms: number): void;
  /** Resolves when its turn in the schedule comes. */
  step(): Promise<void>;
  sleep(ms: number): Promise<void>;
  /**
   * Schedules an event of the daemon, unless the daemon is killed before. The returned function cancels it.
   */
  after(ms: number, act: () => void): () => void;
  /** Schedules an event outside of the daemon, which also happens when the daemon is killed meanwhile. */
  later(ms: number, act: () => void): void;
  /**
   * Runs until `done` settles. Throws {@link Deadlock} when no event is left before that, or when it takes
   * hours.
   */
  runUntil<T>(done: Promise<T>): Promise<T>;
  /** Forgets every pending event of the daemon, as a killed process does. */
  clear(): void;
}

/** A call waits, and no event is left, or the events do not end. */
export class Deadlock extends Error {}

interface Timer {
  readonly at: number;
  readonly act: () => void;
  readonly outside: boolean;
}

/** Slow effects take minutes, failed calls are repeated, and one request may meet several of both. */
const longestMs = 6 * 3_600_000;
const mostEvents = 200_000;
const begin = Date.UTC(2030, 0, 1);
/**
 * Turns of the real event loop, which a promise chain of the product may take without an event of the world.
 */
const patience = 4;
/** Also milliseconds of real time, in which a module may be loaded for the first time. */
const realPauses = [20, 100, 500];

export function createScheduler(decisions: Decisions): Scheduler {
  let pending: (() => void)[] = [];
  let timers: Timer[] = [];
  let time = 0;
  let shift = 0;
  const add = (timer: Timer): void => {
    // The timers are kept in order; at the same moment, the first one added comes first.
    let at = timers.length;
    while (at > 0 && (timers[at - 1]?.at ?? 0) > timer.at) at -= 1;
    timers.splice(at, 0, timer);
  };
  const advance = (): boolean => {
    const [chosen] = pending.splice(decisions.choose('order', pending.length), 1);
    if (chosen !== undefined) {
      chosen();
      return true;
    }
    const timer = timers.shift();
    if (timer === undefined) return false;
    time = Math.max(time, timer.at);
    timer.act();
    return true;
  };
  return {
    decisions,
    now: () => time,
    wall: () => begin + time + shift,
    jump: (ms) => {
      shift += ms;
    },
    step: () => new Promise((resolve) => pending.push(resolve)),
    sleep: (ms) =>
      new Promise((resolve) => add({ at: time + Math.max(0, ms), act: resolve, outside: false })),
    after: (ms, act) => {
      const timer = { at: time + Math.max(0, ms), act, outside: false };
      add(timer);
      return () => {
        timers = timers.filter((one) => one !== timer);
      };
    },
    later: (ms, act) => add({ at: time + ms, act, outside: true }),
    clear: () => {
      pending = [];
      timers = timers.filter(({ outside }) => outside);
    },
    runUntil: async (done) => {
      let settled = false;
      const watched = done.finally(() => (settled = true));
      watched.catch(() => undefined);
      const latest = time + longestMs;
      let [idle, events] = [0, 0];
      for (;;) {
        await turn(idle);
        if (settled) return watched;
        idle = advance() ? 0 : idle + 1;
        events += 1;
        if (events > mostEvents) throw new Deadlock(`it has not ended after ${mostEvents} events`);
        if (idle > patience + realPauses.length)
          throw new Deadlock('it waits, and nothing is left to happen');
        if (time > latest) throw new Deadlock(`it has not ended after ${longestMs / 3_600_000} hours`);
      }
    },
  };
}

const { setTimeout: realTimeout, setImmediate: realImmediate } = globalThis;

function turn(idle: number): Promise<void> {
  const pause = realPauses[idle - patience];
  return new Promise((resolve) =>
    pause === undefined ? realImmediate(resolve) : realTimeout(resolve, pause),
  );
}
