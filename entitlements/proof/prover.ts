import type { Worker } from 'node:worker_threads';
import { errorFromJson, reasonOf } from '../../base/errors/index.ts';
import { startWorker } from '../../base/process/index.ts';
import { meet } from '../compare/lattice.ts';
import type { Target } from '../compile/target.ts';
import { profileDigest, settingsDigest } from '../compile/digest.ts';
import { entitlementsError } from '../errors.ts';
import type { Profile } from '../profile/model.ts';
import type { Settings } from '../types.ts';
import type { FromProver, ProverData, ToProver } from './prover.types.ts';

/** Compiles profiles and proves the result, off the caller's thread. */
export interface Prover {
  /**
   * Returns the proved settings of a profile for a target: the program that the kernel runs equals the
   * profile's policy plus the runtime's base set, and so does the OCI object. Results are cached by the
   * digest of profile and target.
   * @throws ENTITLEMENTS_MISCOMPILED with a call for which program and profile differ;
   * ENTITLEMENTS_TOO_COMPLEX above two seconds; ENTITLEMENTS_UNPROVED if the proof was interrupted; the
   * errors of `compile`
   */
  settings(profile: Profile, target: Target): Promise<Settings>;
  /**
   * Returns what all of several profiles grant. If two or more have patterns or peers, whose meet may take a
   * second, it runs off the caller's thread. Results are cached.
   * @throws ENTITLEMENTS_TOO_COMPLEX; ENTITLEMENTS_UNPROVED if the Worker was interrupted
   */
  meet(profiles: readonly Profile[]): Promise<Profile>;
  /**
   * Starts the Worker, so that the next question does not wait for its code. It ends as after a question, if
   * none follows.
   */
  warm?(): void;
  /** Ends the Worker as soon as it has no question. */
  rest?(): void;
  close(): Promise<void>;
}

const CACHE_SIZE = 256;

/** An unused Worker ends after this time: a node compiles a profile once. */
const IDLE_MS = 10_000;

/**
 * The proof stops after two seconds of its thread's CPU time. A Worker that does not answer within this
 * time by the wall clock is terminated.
 */
const PATIENCE_MS = 30_000;

/**
 * Creates a prover: a Worker that compiles profiles, and proves that the settings are those of the profile.
 */
export function createProver({
  cacheFolder,
  generate,
  patienceMs = PATIENCE_MS,
  idleMs = IDLE_MS,
}: {
  /**
   * Keeps proved settings for the next start, by content (settings-store.ts). If it is absent, or if the
   * program runs from sources, nothing is kept.
   */
  readonly cacheFolder?: string;
  /**
   * Creates settings instead of the compiler in this folder, on the caller's thread: the proof does not
   * depend on the compiler.
   */
  readonly generate?: (profile: Profile, target: Target) => Settings;
  readonly patienceMs?: number;
  readonly idleMs?: number;
} = {}): Prover {
  const proved = new Map<string, Promise<Settings>>();
  const worker = proverWorker(patienceMs, idleMs, cacheFolder === undefined ? {} : { cacheFolder });
  const met = new Map<string, Promise<Profile>>();

  const prove = async (profile: Profile, target: Target): Promise<Settings> => {
    const settings = generate?.(profile, target);
    const answer = await worker.ask({ profile, target, ...(settings !== undefined && { settings }) });
    if ('error' in answer) throw errorFromJson(answer.error);
    if (!('settings' in answer)) throw brokenOff('its Worker answers another question');
    return answer.settings;
  };

  const meetThere = async (profiles: readonly Profile[]): Promise<Profile> => {
    const answer = await worker.ask({ meet: profiles });
    if ('error' in answer) throw errorFromJson(answer.error);
    if (!('profile' in answer)) throw brokenOff('its Worker answers another question');
    return answer.profile;
  };

  return {
    settings: (profile, target) =>
      remembered(proved, settingsDigest(profile, target), () => prove(profile, target)),
    async meet(profiles) {
      if (!profiles.some((one, at) => profiles.slice(at + 1).some((other) => hard(one, other))))
        return profiles.reduce((a, b) => meet(a, b));
      return remembered(met, profiles.map(profileDigest).join(' '), () => meetThere(profiles));
    },
    warm: () => worker.warm(),
    rest: () => worker.rest(),
    close: () => worker.close(),
  };
}

function remembered<T>(memory: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const known = memory.get(key);
  if (known !== undefined) return known;
  const made = make();
  if (memory.size >= CACHE_SIZE) memory.clear();
  memory.set(key, made);
  // A refusal is not cached: the next call tries again.
  made.catch(() => {
    if (memory.get(key) === made) memory.delete(key);
  });
  return made;
}

/** Returns whether both have restrictions that are compared by automata or rule by rule. */
function hard(a: Profile, b: Profile): boolean {
  return (['egress', 'files', 'ingress', 'mounts'] as const).some(
    (key) => a[key] !== undefined && b[key] !== undefined && a[key] !== b[key],
  );
}

/** Runs one Worker at a time, started when it is needed, with one question at a time. */
function proverWorker(
  patienceMs: number,
  idleMs: number,
  workerData: ProverData,
): {
  ask(question: ToProver): Promise<Exclude<FromProver, 'ready'>>;
  warm(): void;
  rest(): void;
  close(): Promise<void>;
} {
  let worker: Worker | undefined;
  let before: Promise<unknown> = Promise.resolve();
  let idle: NodeJS.Timeout | undefined;
  let closed = false;
  let waiting = 0;

  const end = (): Promise<unknown> => {
    clearTimeout(idle);
    const ended = worker?.terminate() ?? Promise.resolve();
    worker = undefined;
    return ended;
  };

  /**
   * Waits for the Worker's answer to the message that `ask` sends. A crash or a timeout becomes a refusal,
   * and the Worker is terminated.
   */
  const next = (from: Worker, ask: () => void = () => undefined): Promise<FromProver> =>
    new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        from.off('message', onMessage).off('error', onError).off('exit', onExit);
        act();
      };
      const fail = (error: Error): void =>
        settle(() => {
          if (worker === from) void end();
          reject(error);
        });
      const onMessage = (message: FromProver): void => settle(() => resolve(message));
      const onError = (error: Error): void => fail(brokenOff(`its Worker failed: ${reasonOf(error)}`, error));
      const onExit = (): void => fail(brokenOff('its Worker has ended'));
      const timer = setTimeout(() => fail(silent(patienceMs)), patienceMs);
      from.on('message', onMessage).on('error', onError).on('exit', onExit);
      try {
        ask();
      } catch (error) {
        fail(brokenOff(`it cannot be sent: ${reasonOf(error)}`, error));
      }
    });

  const started = async (): Promise<Worker> => {
    if (worker !== undefined) return worker;
    const made = startWorker(import.meta.url, './prover.worker.ts', {
      resourceLimits: { maxOldGenerationSizeMb: 512 },
      workerData,
    });
    worker = made;
    // A Worker that crashes between two questions is noticed at the next question.
    made.on('error', () => undefined);
    made.on('exit', () => {
      if (worker === made) worker = undefined;
    });
    await next(made);
    return made;
  };

  /** Calls `use` with the Worker, and lets it end when it is idle. */
  const withWorker = async <T>(use: (mine: Worker) => T | Promise<T>): Promise<T> => {
    if (closed) throw brokenOff('it was closed');
    clearTimeout(idle);
    const mine = await started();
    mine.ref();
    try {
      return await use(mine);
    } finally {
      mine.unref();
      idle = setTimeout(() => void end(), idleMs).unref();
    }
  };

  const asked = (question: ToProver): Promise<Exclude<FromProver, 'ready'>> =>
    withWorker(async (mine) => {
      const answer = await next(mine, () => mine.postMessage(question));
      if (answer === 'ready') throw brokenOff('its Worker answers without a question');
      return answer;
    });

  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    waiting += 1;
    const done = before.then(act).finally(() => (waiting -= 1));
    before = done.catch(() => undefined);
    return done;
  };

  return {
    ask: (question) => inTurn(() => asked(question)),
    warm: () => void inTurn(() => withWorker(() => undefined)).catch(() => undefined),
    rest() {
      void before.then(() => {
        if (waiting === 0) void end();
      });
    },
    async close() {
      closed = true;
      await end();
    },
  };
}

function brokenOff(why: string, cause?: unknown): Error {
  return entitlementsError('ENTITLEMENTS_UNPROVED', {
    kind: 'internal',
    attempted: 'compile and prove profile',
    on: '',
    why,
    fix: 'try again; if this error persists, report it with the profile and the log of the daemon',
    ...(cause !== undefined && { cause }),
  });
}

function silent(milliseconds: number): Error {
  return entitlementsError('ENTITLEMENTS_TOO_COMPLEX', {
    kind: 'exhausted',
    attempted: 'compile and prove profile',
    on: '',
    why: `no answer after ${milliseconds / 1000} seconds`,
    fix: 'use fewer or simpler argument conditions',
  });
}
