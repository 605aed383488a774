import type { Worker } from 'node:worker_threads';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { startWorker } from '../../base/process/index.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import type { Answers, CgroupTarget, FromWorker, ToWorker, WorkerSettings } from './cgroup-stats.types.ts';

/** Values of cgroups, read and sampled in a Worker that runs while there are cgroups to sample. */
export interface CgroupStats {
  /**
   * One result per target, in the same order; undefined where the cgroup does not exist. @throws
   * PortcullisError RUNTIME_STATS_LOST
   */
  usage(targets: readonly CgroupTarget[]): Promise<Answers['usage']>;
  /** Like `usage`, with all values that metrics need. */
  detail(targets: readonly CgroupTarget[]): Promise<Answers['detail']>;
  close(): Promise<void>;
}

/** Rates cover 10 seconds (cpu-samples.ts), so more samples would not change them much. */
const sampleEveryMs = 5_000;
const followEveryMs = 1_000;
/** How many rounds a Worker without work is kept, because one pod often follows another. */
const idleRounds = 15;

/** The number of results in one message, because the main thread unpacks a message in one go. */
const targetsAtOnce = 32;

interface Thread {
  readonly worker: Worker;
  readonly waiting: Map<
    number,
    { readonly resolve: (answer: never) => void; readonly reject: (error: Error) => void }
  >;
}

/**
 * Opens the cgroup statistics.
 * @param input.targets what to sample now: the running containers and their pods
 */
export function openCgroupStats(input: {
  readonly mounts: CgroupMounts;
  readonly targets: () => readonly CgroupTarget[];
}): CgroupStats {
  let thread: Thread | undefined;
  let sampled: readonly CgroupTarget[] = [];
  let sequence = 0;
  let idle = 0;
  let closed = false;

  const start = (): Thread => {
    const settings: WorkerSettings = { mounts: input.mounts, sampleEveryMs };
    const worker = startWorker(import.meta.url, './cgroup-stats.worker.ts', { workerData: settings });
    const started: Thread = { worker, waiting: new Map() };
    const lose = (why: string): void => {
      if (thread === started) thread = undefined;
      for (const { reject } of started.waiting.values()) reject(lost(why));
      started.waiting.clear();
    };
    worker.on('message', ({ sequence: number, answer }: FromWorker) => {
      const caller = started.waiting.get(number);
      started.waiting.delete(number);
      if (started.waiting.size === 0) worker.unref();
      caller?.resolve(answer as never);
    });
    worker.on('error', (error) => lose(reasonOf(error)));
    worker.on('exit', () => lose('its thread ended'));
    worker.unref();
    sampled = [];
    return started;
  };

  /** Sends the Worker the list of cgroups to sample, if it has changed. */
  const follow = (): void => {
    const targets = input.targets();
    if (targets.length === 0 && (thread === undefined || thread.waiting.size === 0)) {
      idle += 1;
      if (idle >= idleRounds) void end();
    } else idle = 0;
    if (thread === undefined && targets.length === 0) return;
    thread ??= start();
    if (sameTargets(sampled, targets)) return;
    sampled = targets;
    thread.worker.postMessage({ do: 'watch', targets } satisfies ToWorker);
  };
  const end = async (): Promise<void> => {
    const ending = thread;
    thread = undefined;
    await ending?.worker.terminate();
  };
  const timer = setInterval(follow, followEveryMs).unref();

  const ask = <Kind extends keyof Answers>(
    kind: Kind,
    targets: readonly CgroupTarget[],
  ): Promise<Answers[Kind]> => {
    if (closed) return Promise.reject(lost('the daemon is stopping'));
    thread ??= start();
    follow();
    const { worker, waiting } = thread;
    sequence += 1;
    const message: ToWorker = { do: kind, sequence, targets };
    return new Promise((resolve, reject) => {
      waiting.set(message.sequence, { resolve, reject });
      worker.ref();
      worker.postMessage(message);
    });
  };
  const askAll = async <Kind extends keyof Answers>(kind: Kind, targets: readonly CgroupTarget[]) => {
    const parts: Promise<Answers[Kind]>[] = [];
    for (let at = 0; at < targets.length; at += targetsAtOnce)
      parts.push(ask(kind, targets.slice(at, at + targetsAtOnce)));
    return (await Promise.all(parts)).flat() as Answers[Kind][number][];
  };

  return {
    usage: (targets) => askAll('usage', targets),
    detail: (targets) => askAll('detail', targets),
    close: async () => {
      closed = true;
      clearInterval(timer);
      await end();
    },
  };
}

function sameTargets(before: readonly CgroupTarget[], now: readonly CgroupTarget[]): boolean {
  if (before.length !== now.length) return false;
  return now.every(({ id, cgroup }, index) => {
    const one = before[index];
    return one?.id === id && one.cgroup === cgroup;
  });
}

function lost(why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_STATS_LOST',
    kind: 'unavailable',
    attempted: 'read the statistics of cgroups',
    on: '',
    why,
    fix: 'repeat the request, and check the log of the daemon',
  });
}
