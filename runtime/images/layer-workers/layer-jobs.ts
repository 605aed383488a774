import { errorFromJson } from '../../../base/errors/index.ts';
import { areMuchWork, createPending, lost, mayStart, pickFairly, renew, starved } from './pending-job.ts';
import type { Pending } from './pending-job.ts';
import type { LayerAnswer, LayerCommand, LayerTask } from './protocol.ts';
import type { Member, LayerWorkers } from './layer-workers.ts';
import { stopJob } from '../unpack/work-clock.ts';

/** Dependencies of the jobs of the layer pool. */
export interface LayerJobsDeps {
  readonly workers: Pick<LayerWorkers, 'members' | 'free'>;
  /** How many blobs are fetched at the same time. */
  readonly mostFetches: number;
  /**
   * Maximum number of entries of layers that wait in memory for the layers below. Beyond it they are dropped,
   * and unpacked again when those layers are present.
   */
  readonly maxWaitingEntries: number;
  /** Milliseconds that a job may wait for a thread when the machine has none. */
  readonly startWaitMs: number;
  readonly isClosed: () => boolean;
  /** Called when a job was queued, or when a Worker has finished or suspended one. */
  readonly changed: () => void;
}

/** The answer to a task of one kind. */
type AnswerOf<Kind extends LayerAnswer['kind']> = LayerAnswer & { readonly kind: Kind };

/** Options of a task in addition to its description. */
export interface JobOptions {
  readonly lowers?: Pending['lowers'];
  readonly signal?: AbortSignal | undefined;
  readonly group?: object | undefined;
  /** The size of the blob that is fetched or unpacked. Default: 0. */
  readonly bytes?: number | undefined;
}

/** The jobs of the layer pool: those that wait for a Worker, and those that run in a Worker. */
export interface LayerJobs {
  /** Runs a task in a Worker. Fails with the error of the Worker, or with the reason of the signal. */
  run<Kind extends LayerAnswer['kind']>(
    kind: Kind,
    task: LayerTask,
    options?: JobOptions,
  ): Promise<AnswerOf<Kind>>;
  /** Receives a message of a Worker. */
  answered(member: Member, message: LayerAnswer): void;
  /**
   * Queues the jobs of a Worker that could not be started again. Jobs for which no Worker exists fail with
   * IMAGES_NO_THREAD when they have waited too long.
   */
  starved(jobs: readonly Pending[], reason: unknown): void;
  /** Queues a job again, before all other jobs. */
  again(job: Pending): void;
  /** Gives queued jobs to free Workers. */
  dispatch(): void;
  /** Fails the jobs that wait for a Worker: the pool is closed. */
  giveUp(): void;
  /** Whether a job waits for a Worker. */
  areQueued(): boolean;
  /** Whether the jobs, running and queued, are worth more than one Worker. */
  areMuch(): boolean;
}

export function createLayerJobs(deps: LayerJobsDeps): LayerJobs {
  const { workers, mostFetches, maxWaitingEntries, startWaitMs, isClosed, changed } = deps;
  const { members } = workers;
  const queue: Pending[] = [];
  let nextJob = 1;

  function takeStarved(jobs: readonly Pending[], reason: unknown): void {
    for (const job of jobs.toReversed()) queue.unshift(renew(job));
    // Workers that run take the queued jobs in turn.
    if (members.size > 0) return;
    failStarved(queue, startWaitMs, reason);
  }

  function answered(member: Member, message: LayerAnswer): void {
    for (const job of queue) job.starvedSince = undefined;
    const job = member.jobs.get(message.job);
    if (job === undefined) return;
    if (message.kind === 'lowers?') {
      answerLowers(member, job, message.entries);
      return;
    }
    member.jobs.delete(message.job);
    if (member.jobs.size === 0) member.worker.unref();
    if (job.isAside && message.kind === 'failed') awaitLowers(job, isClosed, queueAgain);
    else if (message.kind === 'failed') job.settle.reject(job.verdict ?? errorFromJson(message.error));
    else job.settle.resolve(message);
    changed();
  }

  function answerLowers(member: Member, job: Pending, entries: number): void {
    job.isWaiting = true;
    job.entries = entries;
    if (!job.hasLowers && waitingEntries(members) > maxWaitingEntries) {
      job.isAside = true;
      cancelIn(member, job);
    } else {
      sendLowers(member, job);
    }
    changed();
  }

  function queueAgain(job: Pending): void {
    queue.push({ ...renew(job), hasLowers: true });
    changed();
  }

  const running = (): readonly Pending[] => [...members].flatMap(({ jobs }) => [...jobs.values()]);
  const areMuch = (): boolean => areMuchWork([...running(), ...queue]);

  function dispatch(): void {
    while (!isClosed() && (startNext(false) || startNext(true)));
  }

  /** @returns false when no such job waits, or none can start now */
  function startNext(isFetch: boolean): boolean {
    const job = pickFairly(mayStart(queue, running(), isFetch, mostFetches), running());
    const member = job && workers.free(areMuch(), isFetch);
    if (job === undefined || member === undefined) return false;
    queue.splice(queue.indexOf(job), 1);
    give(job, member);
    return true;
  }

  function cancel(id: number, signal: AbortSignal): void {
    const at = queue.findIndex((job) => job.id === id);
    if (at >= 0) queue.splice(at, 1)[0]?.settle.reject(signal.reason);
    for (const member of members) {
      const job = member.jobs.get(id);
      if (job === undefined) continue;
      job.cancelledAt ??= performance.now();
      cancelIn(member, job);
    }
  }

  async function run<Kind extends LayerAnswer['kind']>(
    kind: Kind,
    task: LayerTask,
    { lowers = noLowers, signal, group = {}, bytes = 0 }: JobOptions = {},
  ): Promise<AnswerOf<Kind>> {
    if (isClosed()) throw lost(new Error('the image store is closed'));
    signal?.throwIfAborted();
    const job = createPending({ id: nextJob++, task, lowers, signal, group, bytes });
    const onAbort = (): void => {
      if (signal === undefined) return;
      cancel(job.id, signal);
      // The job is suspended until the layers below are present: no Worker runs it.
      if (job.isAside) job.settle.reject(signal.reason);
    };
    signal?.addEventListener('abort', onAbort);
    queue.push(job);
    changed();
    try {
      const answer = await job.settle.promise;
      if (answer.kind !== kind) throw lost(new Error(`unexpected answer ${answer.kind}`));
      return answer as AnswerOf<Kind>;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  return {
    run,
    answered,
    starved: takeStarved,
    again: (job) => void queue.unshift(renew(job)),
    dispatch,
    giveUp() {
      for (const job of queue.splice(0)) job.settle.reject(lost(new Error('the image store is closed')));
    },
    areQueued: () => queue.length > 0,
    areMuch,
  };
}

/** The job holds no resources any more; it starts again when the layers below are present. */
function awaitLowers(job: Pending, isClosed: () => boolean, queueAgain: (job: Pending) => void): void {
  job.lowers().then(
    () => {
      if (isClosed()) job.settle.reject(lost(new Error('the image store is closed')));
      if (job.signal?.aborted !== true && !isClosed()) queueAgain(job);
    },
    (thrown: unknown) => {
      job.settle.reject(thrown);
    },
  );
}

function give(job: Pending, member: Member): void {
  member.jobs.set(job.id, job);
  member.worker.ref();
  member.worker.postMessage({ ...job.task, job: job.id, cell: job.cell } satisfies LayerCommand);
}

/** Fails the queued jobs that have waited too long for a Worker. */
function failStarved(queue: Pending[], startWaitMs: number, reason: unknown): void {
  const now = performance.now();
  for (const job of [...queue]) {
    job.starvedSince ??= now;
    const waitedMs = now - job.starvedSince;
    if (waitedMs < startWaitMs) continue;
    queue.splice(queue.indexOf(job), 1);
    job.settle.reject(starved(reason, waitedMs));
  }
}

const noLowers = (): Promise<readonly string[]> => Promise.resolve([]);

/** Returns the number of entries of all layers that wait in memory for the layers below. */
function waitingEntries(members: Iterable<Member>): number {
  let sum = 0;
  for (const member of members)
    for (const job of member.jobs.values()) if (job.isWaiting && !job.isAside) sum += job.entries;
  return sum;
}

/** Sends the layers below to the job when they are present; cancels the job if they are missing. */
function sendLowers(member: Member, job: Pending): void {
  job.lowers().then(
    (lowers) => {
      member.worker.postMessage({ kind: 'lowers', job: job.id, lowers } satisfies LayerCommand);
    },
    (thrown: unknown) => {
      job.verdict = thrown;
      cancelIn(member, job);
    },
  );
}

function cancelIn(member: Member, job: Pending): void {
  stopJob(job.cell);
  member.worker.postMessage({ kind: 'cancel', job: job.id } satisfies LayerCommand);
}
