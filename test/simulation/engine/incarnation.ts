import { delayOf, errnoFor, fateOf, fault } from './faults.ts';
import type { EffectKind, Errnos, Odds, Troubles } from './faults.ts';
import type { Scheduler } from './scheduler.ts';
import type { Report } from './history-events.ts';

/** Never settles: a killed process waits for this. */
export function never<T>(): Promise<T> {
  return new Promise(() => undefined);
}

/**
 * The interface of one simulated daemon to the world. A dead daemon gets no more answers, and changes
 * nothing.
 */
export interface Incarnation {
  readonly alive: () => boolean;
  kill(): void;
  /** Stops the faults. */
  stopFaults(): void;
  /**
   * Runs one effect, which waits its turn and may fail, be late or be the daemon's last. It may be cut off
   * between its parts; its answer is the answer of the last part.
   */
  act<T>(kind: EffectKind, name: string, ...parts: readonly [...(() => void)[], () => T]): Promise<T>;
  /** Reads something without a wait. It may fail, as every read may without free descriptors. */
  look<T>(name: string, body: () => T): T;
  /**
   * Runs an effect without a wait, as of a thread that blocks: it may fail, or be the daemon's last. @throws
   * Gone in a dead daemon
   */
  now<T>(kind: EffectKind, name: string, body: () => T): T;
  /** Sends a message between threads of the daemon: it may be late, or the daemon's last. */
  message(name: string): Promise<void>;
  readonly areFaultsStopped: () => boolean;
  readonly odds: Odds;
  /** Ends a thread of the daemon: its open requests fail, done or not. */
  loseWorkers(): void;
}

export interface IncarnationDeps {
  readonly scheduler: Scheduler;
  readonly odds: Odds;
  readonly troubles: Troubles;
  readonly report: Report;
  readonly onCrash: () => void;
  /** The errors with which each type of effect fails. */
  readonly errnos: Errnos;
}

/** Thrown out of a call without a wait when the daemon is dead: no code handles it. */
export class Gone extends Error {}

export function createIncarnation({
  scheduler,
  odds,
  troubles,
  report,
  onCrash,
  errnos,
}: IncarnationDeps): Incarnation {
  let alive = true;
  let quiet = false;
  /** Grows with each lost Worker. */
  let workers = 0;
  const kill = (): void => {
    if (!alive) return;
    alive = false;
    onCrash();
  };
  const fail = (kind: EffectKind, name: string): never => {
    const errno = errnoFor(scheduler, errnos[kind]);
    report(`✗ ${name}: ${errno}`);
    throw fault(name, errno);
  };

  const act = async <T>(
    kind: EffectKind,
    name: string,
    ...parts: readonly [...(() => void)[], () => T]
  ): Promise<T> => {
    if (!alive) return never();
    await scheduler.step();
    if (!alive) return never();
    const errno = quiet ? undefined : troubles.errnoOf(kind, name);
    if (errno !== undefined) throw fault(name, errno);
    const drawn = quiet ? 'fine' : fateOf(scheduler, name, odds);
    const fate = drawn === 'fine' && !quiet && troubles.isSlow(name) ? 'acts late' : drawn;
    const since = workers;
    if (fate !== 'fine') report(`· ${name} ${fate}`);
    if (fate === 'acts late') await scheduler.sleep(delayOf(scheduler));
    if (fate === 'dies') kill();
    if (!alive) return never();
    if (fate === 'fails') fail(kind, name);
    const isCut = fate === 'fails in it' || fate === 'dies in it';
    const whole = isCut
      ? parts.length - 1 - scheduler.decisions.choose('parts left out', parts.length)
      : parts.length;
    let answer: unknown;
    for (const part of parts.slice(0, whole)) answer = part();
    if (fate === 'dies, done' || fate === 'dies in it') kill();
    if (!alive) return never();
    if (fate === 'fails, done' || fate === 'fails in it') fail(kind, `${name} (done)`);
    if (fate === 'is answered late') await scheduler.sleep(delayOf(scheduler));
    await scheduler.step();
    if (!alive) return never();
    if (workers !== since) throw fault(`${name} (its Worker was lost)`, 'EPIPE');
    return answer as T;
  };

  return {
    alive: () => alive,
    kill,
    stopFaults: () => {
      quiet = true;
    },
    act,
    look: (name, body) => {
      if (alive && !quiet) {
        const errno = troubles.errnoOf('read', name);
        if (errno !== undefined) throw fault(name, errno);
        if (scheduler.decisions.weigh(name, [odds.fail / 2]) > 0) fail('read', name);
      }
      return body();
    },
    now: (kind, name, body) => {
      if (!alive) throw new Gone(name);
      const errno = quiet ? undefined : troubles.errnoOf(kind, name);
      if (errno !== undefined) throw fault(name, errno);
      const fate = quiet ? 'fine' : fateOf(scheduler, name, odds);
      if (fate === 'dies' || fate === 'dies in it') {
        report(`· ${name} ${fate}`);
        kill();
        throw new Gone(name);
      }
      if (fate === 'fails') fail(kind, name);
      const answer = body();
      if (fate === 'fails, done' || fate === 'fails in it') fail(kind, `${name} (done)`);
      if (fate !== 'dies, done') return answer;
      report(`· ${name} ${fate}`);
      kill();
      throw new Gone(name);
    },
    message: async (name) => {
      if (!alive) return never();
      await scheduler.step();
      const fate = alive && !quiet ? fateOf(scheduler, name, odds) : 'fine';
      if (fate.startsWith('dies')) kill();
      if (fate.endsWith('late')) await scheduler.sleep(delayOf(scheduler));
      if (!alive) return never();
    },
    areFaultsStopped: () => quiet,
    odds,
    loseWorkers: () => {
      report('· a Worker is lost');
      workers += 1;
    },
  };
}
