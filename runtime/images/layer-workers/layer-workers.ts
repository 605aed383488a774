import type { Worker } from 'node:worker_threads';
import { meansShortage } from '../../../base/errors/index.ts';
import { lost } from './pending-job.ts';
import type { Pending } from './pending-job.ts';
import type { LayerProgress } from '../unpack/layer-budget.ts';
import type { LayerAnswer } from './protocol.ts';
import { cancelledError, overdueError, readWork } from '../unpack/work-clock.ts';

const jobsPerWorker = 2;
/** A fetch mostly waits for its registry. It takes no turn from the jobs that work. */
export const fetchesPerWorker = 8;
/** A cancelled job stops within milliseconds, unless its Worker is stuck. */
const cancelGraceMs = 3_000;
/** A job that was lost this often with the Worker of another job is not tried again. */
const mostTries = 4;

/**
 * How long to wait before the next start when the machine has no thread, descriptor or memory for a Worker.
 */
const startAgainMs = 250;

/** A Worker of the layer pool, with the jobs that it runs, by their ids. */
export interface Member {
  readonly worker: Worker;
  readonly jobs: Map<number, Pending>;
  /** Whether it has answered: it was started. */
  hasServed: boolean;
}

/** Dependencies of the Workers of the layer pool. */
export interface LayerWorkersDeps {
  readonly start: () => Worker;
  /** Maximum number of Workers, without those that were ended and still exist. */
  readonly size: number;
  /** Milliseconds until the jobs of an ended Worker are given up, when its thread hangs in a system call. */
  readonly exitMs: number;
  readonly isClosed: () => boolean;
  /** Receives each message of a Worker. */
  readonly answered: (member: Member, answer: LayerAnswer) => void;
  /** Receives a job that starts again, because its Worker was ended for another job. */
  readonly again: (job: Pending) => void;
  /** Receives the jobs of a Worker that could not be started: they wait for another one. */
  readonly starved: (jobs: readonly Pending[], reason: unknown) => void;
  /** Called after each loss of a Worker: queued jobs may need another one. */
  readonly changed: () => void;
}

/**
 * The Workers of the layer pool: those that take jobs, and those that were ended and still exist. A job whose
 * Worker is lost is either given up or starts again.
 */
export interface LayerWorkers {
  /** The Workers that take jobs. */
  readonly members: ReadonlySet<Member>;
  start(): Member;
  /**
   * Returns a Worker for a job; undefined: none can take it. Much work goes to the least busy Worker, or to a
   * new one while the limit allows it, and little work to the oldest ones, so that the others can end.
   * @param isMuch whether the jobs are worth another Worker beside one that is busy
   * @param isFetch whether the job fetches a blob
   */
  free(isMuch: boolean, isFetch: boolean): Member | undefined;
  /** Ends a Worker that `culprit` blocks. Its other jobs start again on another Worker. */
  end(member: Member, culprit: Pending, reason: Error): void;
  /** Ends the Workers that have no job. @param kept the number of the oldest Workers that stay */
  retire(kept?: number): void;
  /** Whether any Worker has a job, including Workers that were ended and still exist. */
  haveJobs(): boolean;
  /** Gives up all jobs and ends all Workers. */
  close(): Promise<void>;
}

export function createLayerWorkers(deps: LayerWorkersDeps): LayerWorkers {
  const { size, exitMs, isClosed, answered, again, changed } = deps;
  const members = new Set<Member>();
  /** Workers that were ended and still exist. */
  const ending = new Map<Member, NodeJS.Timeout>();
  /** Runs while no Worker is started, because the last start failed. */
  let pausing: NodeJS.Timeout | undefined;

  function start(): Member {
    const worker = deps.start();
    const member: Member = { worker, jobs: new Map(), hasServed: false };
    members.add(member);
    worker.on('message', (message: LayerAnswer) => {
      member.hasServed = true;
      answered(member, message);
    });
    worker.on('error', (error) => {
      drop(member, error);
    });
    worker.on('exit', () => {
      if (ending.has(member)) settleEnded(member, true);
      else drop(member, new Error('the Worker for layers ended'));
    });
    worker.unref();
    return member;
  }

  function drop(member: Member, reason: unknown): void {
    if (!members.delete(member)) return;
    const jobs = [...member.jobs.values()];
    member.jobs.clear();
    if (!member.hasServed && lacksThread(reason) && !isClosed()) {
      clearTimeout(pausing);
      pausing = setTimeout(() => {
        pausing = undefined;
        changed();
      }, startAgainMs);
      deps.starved(jobs, reason);
    } else {
      for (const job of jobs) job.settle.reject(lost(reason));
    }
    changed();
  }

  function end(member: Member, culprit: Pending, reason: Error): void {
    members.delete(member);
    culprit.verdict = reason;
    ending.set(
      member,
      setTimeout(() => {
        settleEnded(member, false);
      }, exitMs).unref(),
    );
    void member.worker.terminate();
    changed();
  }

  /**
   * @param isGone false: the thread still hangs in a system call, and may still write the files that a new
   * try of its jobs would write
   */
  function settleEnded(member: Member, isGone: boolean): void {
    clearTimeout(ending.get(member));
    // A hanging thread still counts as ending, so that repeated pulls do not leave more and more such
    // threads.
    if (isGone) ending.delete(member);
    for (const job of member.jobs.values()) {
      const reason: unknown = job.verdict ?? (job.signal?.aborted === true ? job.signal.reason : undefined);
      if (reason !== undefined) job.settle.reject(reason);
      else if (!isGone || job.tries >= mostTries || isClosed())
        job.settle.reject(lost(new Error('its Worker was ended because of another layer')));
      else again(job);
    }
    member.jobs.clear();
    changed();
  }

  function free(isMuch: boolean, isFetch: boolean): Member | undefined {
    const load = (member: Member): number => loadOf(member, isFetch);
    const most = isFetch ? fetchesPerWorker : jobsPerWorker;
    const oldest = isMuch ? undefined : [...members].find((member) => load(member) < most);
    if (oldest !== undefined) return oldest;
    let best: Member | undefined;
    for (const member of members)
      if (
        best === undefined ||
        load(member) < load(best) ||
        (load(member) === load(best) && member.jobs.size < best.jobs.size)
      )
        best = member;
    // An ended Worker is replaced immediately. The number of replacements for threads that hang is limited.
    const mayStart = pausing === undefined && members.size + Math.max(0, ending.size - size) < size;
    if ((best === undefined || (isMuch && load(best) > 0)) && mayStart) return start();
    return best !== undefined && load(best) < most ? best : undefined;
  }

  function retire(kept = 0): void {
    for (const member of [...members].slice(kept)) {
      if (member.jobs.size > 0) continue;
      members.delete(member);
      void member.worker.terminate();
    }
  }

  return {
    members,
    start,
    free,
    end,
    retire,
    haveJobs: () => [...members, ...ending.keys()].some((member) => member.jobs.size > 0),
    async close() {
      clearTimeout(pausing);
      const leaving = [...members];
      for (const member of leaving) drop(member, new Error('the image store is closed'));
      for (const member of ending.keys()) settleEnded(member, false);
      await Promise.all(leaving.map((member) => member.worker.terminate()));
    },
  };
}

/**
 * Ends each Worker whose job does not stop: after its allowance, or after its cancellation.
 * @param allowance milliseconds that a job may occupy its Worker
 */
export function endStuckWorkers(
  { members, end }: Pick<LayerWorkers, 'members' | 'end'>,
  allowance: (progress: LayerProgress) => number,
): void {
  for (const member of members) {
    for (const job of member.jobs.values()) {
      const { isWorking, workedMs, progress } = readWork(job.cell);
      if (!isWorking) continue;
      if (workedMs > allowance(progress)) end(member, job, overdueError(job.on, workedMs));
      else if (job.cancelledAt !== undefined && performance.now() - job.cancelledAt > cancelGraceMs)
        end(member, job, cancelledError(job.on));
      else continue;
      break;
    }
  }
}

/** Whether a Worker could not be started, or not load its module, for lack of a resource. */
function lacksThread(reason: unknown): boolean {
  return (
    meansShortage(reason) ||
    (reason instanceof Error && 'code' in reason && reason.code === 'ERR_WORKER_INIT_FAILED')
  );
}

/** Returns the number of the fetches of a Worker, or of its other jobs. */
function loadOf(member: Member, isFetch: boolean): number {
  let count = 0;
  for (const { task, isWaiting } of member.jobs.values())
    if (!isWaiting && (task.kind === 'fetch') === isFetch) count++;
  return count;
}
