import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { errorFromJson } from '../../../base/errors/index.ts';
import { startWorker } from '../../../base/process/index.ts';
import { imageError } from '../failures.ts';
import { createPending, pickFairly, renew } from './pending-job.ts';
import type { Pending } from './pending-job.ts';
import type { LayerProgress } from './layer-budget.ts';
import type { BlobFetch, Publication, UnpackAnswer, UnpackCommand, UnpackTask } from './protocol.ts';
import type { UnpackRequest, UnpackedLayer } from './unpack-layer.ts';
import { cancelledError, overdueError, readWork, stopJob, unpackAllowance } from './work-clock.ts';

/** Unpack Workers: started when there is work, stopped when there has been none for a while. */
export interface UnpackPool {
  /** Starts a Worker now, so that it is ready when the first layer arrives. */
  warm(): void;
  /**
   * @param lowers returns the roots of the layers below, top-most first, once they are unpacked; called only
   * for a layer that needs them
   * @param options.group layers of one pull: pulls take turns
   */
  unpack(
    request: UnpackRequest,
    lowers: () => Promise<readonly string[]>,
    options?: { readonly signal?: AbortSignal; readonly group?: object },
  ): Promise<UnpackedLayer>;
  /** Fails with the errors of the registry client. */
  fetch(fetch: BlobFetch, signal: AbortSignal): Promise<void>;
  /**
   * Resolves when everything that was written to the file system of the descriptor is on its disk; fails
   * otherwise.
   */
  sync(fd: number, root: string): Promise<void>;
  publish(publication: Publication): Promise<void>;
  /** Returns the names of files that differ from the layer's manifest; empty when the layer is whole. */
  verify(layer: string, manifestSha256: string): Promise<readonly string[]>;
  busy(): boolean;
  close(): Promise<void>;
}

export interface UnpackPoolOptions {
  readonly size?: number;
  /** Milliseconds that a layer may occupy a Worker, after which the Worker is ended. */
  readonly allowance?: (progress: LayerProgress) => number;
  /** Milliseconds until the jobs of an ended Worker are given up, when its thread hangs in a system call. */
  readonly exitMs?: number;
  /**
   * Maximum number of entries of layers that wait in memory for the layers below. Beyond it they are dropped,
   * and unpacked again when those layers are present.
   */
  readonly maxWaitingEntries?: number;
}

const idleMs = 10_000;
const jobsPerWorker = 2;
/** How often to check working Workers. */
const watchMs = 500;
/** The Worker itself enforces the allowance; it is ended when it fails to do so for this time. */
const overdueGraceMs = 10_000;
/** A cancelled job stops within milliseconds, unless its Worker is stuck. */
const cancelGraceMs = 3_000;
/** A job that was lost this often with the Worker of another job is not tried again. */
const mostTries = 4;

interface Member {
  readonly worker: Worker;
  readonly jobs: Map<number, Pending>;
}

export function createUnpackPool(options: UnpackPoolOptions = {}): UnpackPool {
  const { exitMs = 10_000, maxWaitingEntries = 200_000 } = options;
  const size = options.size ?? Math.min(4, availableParallelism());
  const allowance = options.allowance ?? ((progress) => unpackAllowance(progress) + overdueGraceMs);
  const members = new Set<Member>();
  /** Workers that were ended and still exist. */
  const ending = new Map<Member, NodeJS.Timeout>();
  const queue: Pending[] = [];
  let nextJob = 1;
  let idle: NodeJS.Timeout | undefined;
  let watching: NodeJS.Timeout | undefined;
  let closed = false;

  function startMember(): Member {
    const worker = startWorker(import.meta.url, './unpack.worker.ts');
    const member: Member = { worker, jobs: new Map() };
    members.add(member);
    worker.on('message', (message: UnpackAnswer) => {
      receive(member, message);
    });
    worker.on('error', (error) => {
      drop(member, error);
    });
    worker.on('exit', () => {
      if (ending.has(member)) settleEnded(member, true);
      else drop(member, new Error('the unpack Worker ended'));
    });
    worker.unref();
    return member;
  }

  function drop(member: Member, reason: unknown): void {
    if (!members.delete(member)) return;
    for (const job of member.jobs.values()) job.settle.reject(lost(reason));
    member.jobs.clear();
    schedule();
  }

  /** Ends a Worker that `culprit` blocks. Its other jobs start again on another Worker. */
  function endMember(member: Member, culprit: Pending, reason: Error): void {
    members.delete(member);
    culprit.verdict = reason;
    ending.set(
      member,
      setTimeout(() => {
        settleEnded(member, false);
      }, exitMs).unref(),
    );
    void member.worker.terminate();
    schedule();
  }

  /**
   * @param isGone false: the thread still hangs in a system call, and may still write the files that a new
   * try of its jobs would write
   */
  function settleEnded(member: Member, isGone: boolean): void {
    clearTimeout(ending.get(member));
    // A thread that hangs still counts as ending: repeated pulls must not leave more and more such threads.
    if (isGone) ending.delete(member);
    for (const job of member.jobs.values()) {
      const reason: unknown = job.verdict ?? (job.signal?.aborted === true ? job.signal.reason : undefined);
      if (reason !== undefined) job.settle.reject(reason);
      else if (!isGone || job.tries >= mostTries || closed)
        job.settle.reject(lost(new Error('its Worker was ended because of another layer')));
      else queue.unshift(renew(job));
    }
    member.jobs.clear();
    schedule();
  }

  function watch(): void {
    for (const member of members) {
      for (const job of member.jobs.values()) {
        const { isWorking, workedMs, progress } = readWork(job.cell);
        if (!isWorking) continue;
        if (workedMs > allowance(progress)) endMember(member, job, overdueError(job.on, workedMs));
        else if (job.cancelledAt !== undefined && performance.now() - job.cancelledAt > cancelGraceMs)
          endMember(member, job, cancelledError(job.on));
        else continue;
        break;
      }
    }
  }

  function receive(member: Member, message: UnpackAnswer): void {
    const job = member.jobs.get(message.job);
    if (job === undefined) return;
    if (message.kind === 'lowers?') {
      answerLowers(member, job, message.entries);
      return;
    }
    member.jobs.delete(message.job);
    if (member.jobs.size === 0) member.worker.unref();
    if (job.isAside && message.kind === 'failed') awaitLowers(job);
    else if (message.kind === 'failed') job.settle.reject(job.verdict ?? errorFromJson(message.error));
    else job.settle.resolve(message);
    schedule();
  }

  function answerLowers(member: Member, job: Pending, entries: number): void {
    job.isWaiting = true;
    job.entries = entries;
    if (!job.hasLowers && waitingEntries() > maxWaitingEntries) {
      job.isAside = true;
      cancelIn(member, job);
    } else {
      job.lowers().then(
        (lowers) => {
          member.worker.postMessage({ kind: 'lowers', job: job.id, lowers } satisfies UnpackCommand);
        },
        (thrown: unknown) => {
          job.verdict = thrown;
          cancelIn(member, job);
        },
      );
    }
    schedule();
  }

  function waitingEntries(): number {
    let sum = 0;
    for (const member of members) for (const job of member.jobs.values()) if (job.isWaiting && !job.isAside) sum += job.entries;
    return sum;
  }

  /** The job holds no resources any more; it starts again when the layers below are present. */
  function awaitLowers(job: Pending): void {
    job.lowers().then(
      () => {
        if (closed) job.settle.reject(lost(new Error('the image store is closed')));
        if (job.signal?.aborted === true || closed) return;
        queue.push({ ...renew(job), hasLowers: true });
        schedule();
      },
      (thrown: unknown) => {
        job.settle.reject(thrown);
      },
    );
  }

  function cancelIn(member: Member, job: Pending): void {
    stopJob(job.cell);
    member.worker.postMessage({ kind: 'cancel', job: job.id } satisfies UnpackCommand);
  }

  function schedule(): void {
    while (queue.length > 0 && !closed) {
      const member = freeMember();
      if (member === undefined) break;
      const job = pickFairly(
        queue,
        [...members].flatMap(({ jobs }) => [...jobs.values()]),
      );
      if (job === undefined) break;
      member.jobs.set(job.id, job);
      member.worker.ref();
      member.worker.postMessage({ ...job.task, job: job.id, cell: job.cell } satisfies UnpackCommand);
    }
    const isIdle = [...members].every((member) => member.jobs.size === 0);
    if (idle !== undefined) clearTimeout(idle);
    idle = members.size > 0 && isIdle ? setTimeout(retire, idleMs).unref() : undefined;
    if (isIdle) clearInterval(watching);
    watching = isIdle ? undefined : (watching ?? setInterval(watch, watchMs).unref());
  }

  /** Returns the least busy Worker, or a new one while the limit allows it. */
  function freeMember(): Member | undefined {
    let best: Member | undefined;
    for (const member of members) if (best === undefined || load(member) < load(best)) best = member;
    // An ended Worker is replaced at once; the number of replacements for threads that hang and do not end is
    // limited.
    const mayStart = members.size + Math.max(0, ending.size - size) < size;
    if ((best === undefined || load(best) > 0) && mayStart) return startMember();
    return best !== undefined && load(best) < jobsPerWorker ? best : undefined;
  }

  function retire(): void {
    for (const member of [...members]) {
      if (member.jobs.size > 0) continue;
      members.delete(member);
      void member.worker.terminate();
    }
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

  async function run<Kind extends UnpackAnswer['kind']>(
    kind: Kind,
    task: UnpackTask,
    {
      lowers = noLowers,
      signal,
      group = {},
    }: { readonly lowers?: Pending['lowers']; readonly signal?: AbortSignal | undefined; readonly group?: object | undefined } = {},
  ): Promise<UnpackAnswer & { readonly kind: Kind }> {
    if (closed) throw lost(new Error('the image store is closed'));
    signal?.throwIfAborted();
    const job = createPending({ id: nextJob++, task, lowers, signal, group });
    const onAbort = (): void => {
      if (signal === undefined) return;
      cancel(job.id, signal);
      // The job is set aside until the layers below are present: no Worker has it.
      if (job.isAside) job.settle.reject(signal.reason);
    };
    signal?.addEventListener('abort', onAbort);
    queue.push(job);
    schedule();
    try {
      const answer = await job.settle.promise;
      if (answer.kind !== kind) throw lost(new Error(`unexpected answer ${answer.kind}`));
      return answer as UnpackAnswer & { readonly kind: Kind };
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  return {
    warm() {
      if (members.size === 0 && !closed) startMember();
      schedule();
    },
    unpack: async (request, lowers, { signal, group } = {}) =>
      (await run('unpacked', { kind: 'unpack', request }, { lowers, signal, group })).layer,
    async fetch(fetch, signal) {
      await run('fetched', { kind: 'fetch', fetch }, { signal });
    },
    async sync(fd, root) {
      await run('synced', { kind: 'sync', fd, root });
    },
    async publish(publication) {
      await run('published', { kind: 'publish', publication });
    },
    verify: async (layer, manifestSha256) => (await run('verified', { kind: 'verify', layer, manifestSha256 })).bad,
    busy: () => queue.length > 0 || [...members, ...ending.keys()].some((member) => member.jobs.size > 0),
    async close() {
      closed = true;
      clearTimeout(idle);
      clearInterval(watching);
      const leaving = [...members];
      for (const member of leaving) drop(member, new Error('the image store is closed'));
      for (const member of ending.keys()) settleEnded(member, false);
      await Promise.all(leaving.map((member) => member.worker.terminate()));
    },
  };
}

const noLowers = (): Promise<readonly string[]> => Promise.resolve([]);

function load(member: Member): number {
  let count = 0;
  for (const job of member.jobs.values()) if (!job.isWaiting) count++;
  return count;
}

function lost(reason: unknown): Error {
  return imageError({
    code: 'IMAGES_STORE_FAILED',
    kind: 'unavailable',
    attempted: 'unpack layer',
    on: '',
    why: reason instanceof Error ? reason.message : String(reason),
    fix: 'pull again; if it repeats, see the log of the daemon',
    cause: reason,
  });
}
