import { PortcullisError } from '../../../base/errors/index.ts';
import type { Scheduler } from './scheduler.ts';

/** The resource of the machine that an effect needs, which determines how it may fail. */
export type EffectKind = 'write' | 'removal' | 'read' | 'spawn' | 'kernel';

export type Errnos = Readonly<Record<EffectKind, readonly string[]>>;

export const usualErrnos: Errnos = {
  write: ['EIO', 'ENOSPC', 'EMFILE'],
  removal: ['EIO', 'EBUSY', 'EMFILE'],
  read: ['EMFILE', 'ENOMEM'],
  spawn: ['EAGAIN', 'ENOMEM', 'EMFILE'],
  kernel: ['ENOMEM', 'ENOBUFS'],
};

/** How often effects go wrong, each from 0 to 1. Each fault is as likely before the effect as after it. */
export interface Odds {
  /** The daemon dies: before the effect, after it, or during it. */
  readonly crash: number;
  /** It fails: before it acts, after it has acted, or in the middle. */
  readonly fail: number;
  /** It acts late, or is answered late, by up to minutes. */
  readonly slow: number;
}

export const noFaults: Odds = { crash: 0, fail: 0, slow: 0 };

/** The possible outcomes of an effect, in the order of {@link oddsOf}. */
export type Fate =
  | 'fine'
  | 'acts late'
  | 'is answered late'
  | 'fails'
  | 'fails, done'
  | 'fails in it'
  | 'dies'
  | 'dies, done'
  | 'dies in it';
const fates: readonly Fate[] = [
  'fine',
  'acts late',
  'is answered late',
  'fails',
  'fails, done',
  'fails in it',
  'dies',
  'dies, done',
  'dies in it',
];

/** Name of the effect of a transaction. */
export const databaseWrite = 'write to the database';

/**
 * Removals are still under way while failed transactions are repeated. The effects of a slow disk alone
 * rarely meet.
 */
export const slowRenames = 'renames are slow, and the database has little room';
/** A shortage of the machine for a while. */
export type Trouble =
  | 'the disk is full'
  | 'no descriptors'
  | 'no processes'
  | 'the kernel has little memory'
  | typeof slowRenames;
/** Those that any step may begin. */
export const troubles: readonly Trouble[] = ['the disk is full', 'no descriptors', 'no processes'];

const failing: Readonly<Record<Trouble, Partial<Record<EffectKind, string>>>> = {
  'the disk is full': { write: 'ENOSPC' },
  'no descriptors': { write: 'EMFILE', read: 'EMFILE', spawn: 'EMFILE' },
  'no processes': { spawn: 'EAGAIN' },
  'the kernel has little memory': { kernel: 'ENOMEM' },
  [slowRenames]: { write: 'ENOSPC' },
};

/** The troubles of one machine. Each ends after some time. */
export interface Troubles {
  /** Each ends at this moment of the scheduler's clock. */
  readonly until: Map<Trouble, number>;
  begin(trouble: Trouble, ms: number): void;
  end(): void;
  /** Returns the errno of an effect that cannot succeed now. @param name of the effect */
  errnoOf(kind: EffectKind, name: string): string | undefined;
  /** Returns whether an effect with this name acts late. */
  isSlow(name: string): boolean;
}

export function createTroubles(scheduler: Scheduler): Troubles {
  const until = new Map<Trouble, number>();
  return {
    until,
    begin: (trouble, ms) => void until.set(trouble, scheduler.now() + ms),
    end: () => until.clear(),
    errnoOf: (kind, name) => {
      for (const [trouble, end] of until) {
        const errno = failing[trouble][kind];
        if (errno === undefined || end <= scheduler.now()) continue;
        // Without any memory, the first call of a turn would fail each time, and no later call would be
        // reached.
        if (trouble === 'the kernel has little memory' && scheduler.decisions.choose('memory', 6) > 0)
          continue;
        // Other programs on the disk use and free room, so that some transactions succeed.
        if (trouble === slowRenames && (name !== databaseWrite || scheduler.decisions.choose('room', 2) > 0))
          continue;
        return errno;
      }
      return undefined;
    },
    isSlow: (name) =>
      name.startsWith('rename ') &&
      (until.get(slowRenames) ?? 0) > scheduler.now() &&
      scheduler.decisions.choose('slow rename', 2) === 1,
  };
}

const oddsCache = new WeakMap<Odds, readonly number[]>();

function oddsOf(odds: Odds): readonly number[] {
  const known = oddsCache.get(odds);
  if (known !== undefined) return known;
  const { crash, fail, slow } = odds;
  const list = [slow / 2, slow / 2, fail / 3, fail / 3, fail / 3, crash / 3, crash / 3, crash / 3];
  oddsCache.set(odds, list);
  return list;
}

/** Decides the outcome of one effect. */
export function fateOf(scheduler: Scheduler, name: string, odds: Odds): Fate {
  return fates[scheduler.decisions.weigh(name, oddsOf(odds))] ?? 'fine';
}

export function errnoFor(scheduler: Scheduler, errnos: readonly string[]): string {
  return errnos[scheduler.decisions.choose('errno', errnos.length)] ?? 'EIO';
}

const delays = [2, 50, 1_500, 20_000, 150_000];

/** Returns the delay of a slow effect in milliseconds. */
export function delayOf(scheduler: Scheduler): number {
  return delays[scheduler.decisions.choose('delay', delays.length)] ?? 2;
}

/** Returns the error of every simulated failure of effects of pods and containers. */
export function fault(name: string, errno: string): PortcullisError {
  return new PortcullisError({
    ...{
      code: 'SIMULATED_FAULT',
      kind: 'internal',
      attempted: name,
      on: '',
      why: `simulated: ${errno}`,
      fix: 'retry',
    },
    details: { errno },
  });
}
