import { availableParallelism } from 'node:os';
import { startWorker } from '../../../base/process/index.ts';
import type { LayerProgress } from '../unpack/layer-budget.ts';
import type { BlobFetch, LayerForm, LayerRecord, Publication } from './protocol.ts';
import { createLayerJobs } from './layer-jobs.ts';
import type { UnpackRequest, UnpackedLayer } from '../unpack/unpack-layer.ts';
import { createLayerWorkers, endStuckWorkers, fetchesPerWorker } from './layer-workers.ts';
import { unpackAllowance } from '../unpack/work-clock.ts';

/** The Workers for layers: started when there is work, stopped after a while without work. */
export interface LayerPool {
  /** Starts a Worker now, so that it is ready when the first layer of this form arrives. */
  warm(form?: LayerForm): void;
  /**
   * @param lowers returns the roots of the layers below, top-most first, once they are unpacked; called only
   * for a layer that needs them
   * @param options.group layers of one pull: pulls take turns
   * @param options.bytes size of the blob
   */
  unpack(
    request: UnpackRequest,
    lowers: () => Promise<readonly string[]>,
    options?: {
      readonly form?: LayerForm;
      readonly signal?: AbortSignal;
      readonly group?: object;
      readonly bytes?: number;
    },
  ): Promise<UnpackedLayer>;
  /** Fails with the errors of the registry client. */
  fetch(fetch: BlobFetch, signal: AbortSignal): Promise<void>;
  /**
   * Resolves when everything that was written to the file system of the descriptor is on its disk; fails
   * otherwise.
   */
  sync(fd: number, root: string): Promise<void>;
  publish(publication: Publication): Promise<void>;
  /**
   * Returns the names of files that differ from the record of a layer; empty when the layer is whole.
   * @throws IMAGES_STORE_FAILED for a layer file that is damaged, which has no names
   */
  verify(layer: string, record: LayerRecord): Promise<readonly string[]>;
  /**
   * Checks the metadata of an open EROFS file against its record: the kernel may parse it then.
   * @param fd a descriptor of this process
   * @throws IMAGES_STORE_FAILED when it is another file, or damaged, or cannot be read
   */
  check(fd: number, path: string, record: LayerRecord): Promise<void>;
  busy(): boolean;
  close(): Promise<void>;
}

export interface LayerPoolOptions {
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
  /**
   * Milliseconds that a job may wait for a thread when the machine has none. Default: 15 s, less than a
   * client waits for an answer.
   */
  readonly startWaitMs?: number;
  /** Whether its Workers get only the processor and the disk time that other threads leave. */
  readonly isBackground?: boolean;
}

const idleMs = 10_000;
/** How long Workers beside the first one are kept without work for them: each takes 25 MB. */
const spareMs = 2_000;
/** How often to check working Workers. */
const watchMs = 500;
/** The Worker itself enforces the allowance; it is ended when it fails to do so for this time. */
const overdueGraceMs = 10_000;

export function createLayerPool(options: LayerPoolOptions = {}): LayerPool {
  const { exitMs = 10_000, maxWaitingEntries = 200_000, startWaitMs = 15_000 } = options;
  const size = options.size ?? Math.min(4, availableParallelism());
  const allowance = options.allowance ?? ((progress) => unpackAllowance(progress) + overdueGraceMs);
  let closed = false;
  let expected: LayerForm | undefined;
  const isClosed = (): boolean => closed;
  const workers = createLayerWorkers({
    start: () =>
      startWorker(import.meta.url, './layer.worker.ts', {
        workerData: { isBackground: options.isBackground === true, form: expected },
      }),
    size,
    exitMs,
    isClosed,
    answered: (member, answer) => jobs.answered(member, answer),
    again: (job) => jobs.again(job),
    starved: (lacking, reason) => jobs.starved(lacking, reason),
    changed: schedule,
  });
  const jobs = createLayerJobs({
    ...{ workers, maxWaitingEntries, startWaitMs, isClosed },
    mostFetches: size * fetchesPerWorker,
    changed: schedule,
  });
  const timers = createPoolTimers({
    retire: () => workers.retire(),
    retireSpare: () => workers.retire(1),
    watch: () => {
      endStuckWorkers(workers, allowance);
      // A job that turns out to take long is worth another Worker for the jobs behind it.
      jobs.dispatch();
    },
  });
  const { run } = jobs;

  function schedule(): void {
    jobs.dispatch();
    const { members } = workers;
    timers.set({
      hasWorkers: members.size > 0,
      isIdle: [...members].every((member) => member.jobs.size === 0),
      hasSpare: members.size > 1 && !jobs.areMuch(),
    });
  }

  return {
    warm(form = 'folder') {
      expected = form;
      if (workers.members.size === 0 && !closed) workers.start();
      schedule();
    },
    unpack: async (request, lowers, { form = 'folder', signal, group, bytes } = {}) =>
      (await run('unpacked', { kind: 'unpack', request, form }, { lowers, signal, group, bytes })).layer,
    async fetch(fetch, signal) {
      await run('fetched', { kind: 'fetch', fetch }, { signal, bytes: fetch.descriptor.size });
    },
    async sync(fd, root) {
      await run('synced', { kind: 'sync', fd, root });
    },
    async publish(publication) {
      await run('published', { kind: 'publish', publication });
    },
    verify: async (layer, record) => (await run('verified', { kind: 'verify', layer, record })).bad,
    async check(fd, path, record) {
      await run('checked', { kind: 'check', fd, path, record });
    },
    busy: () => jobs.areQueued() || workers.haveJobs(),
    async close() {
      closed = true;
      timers.clear();
      jobs.giveUp();
      await workers.close();
    },
  };
}

/** The state of the pool that decides about its timers. */
interface PoolState {
  readonly hasWorkers: boolean;
  /** No Worker has a job. */
  readonly isIdle: boolean;
  /** One Worker would be enough for the jobs. */
  readonly hasSpare: boolean;
}

/**
 * The timers of the pool: one ends the Workers when none has had a job for a while, one ends those beside the
 * first one when there was little work for a while, and one checks the Workers while they have jobs.
 */
function createPoolTimers(acts: {
  readonly retire: () => void;
  readonly retireSpare: () => void;
  readonly watch: () => void;
}): { readonly set: (state: PoolState) => void; readonly clear: () => void } {
  const { retire, retireSpare, watch } = acts;
  let idle: NodeJS.Timeout | undefined;
  let spare: NodeJS.Timeout | undefined;
  let watching: NodeJS.Timeout | undefined;
  const endSpare = (): void => {
    spare = undefined;
    retireSpare();
  };
  return {
    set({ hasWorkers, isIdle, hasSpare }) {
      if (idle !== undefined) clearTimeout(idle);
      idle = hasWorkers && isIdle ? setTimeout(retire, idleMs).unref() : undefined;
      if (!hasSpare) clearTimeout(spare);
      spare = hasSpare ? (spare ?? setTimeout(endSpare, spareMs).unref()) : undefined;
      if (isIdle) clearInterval(watching);
      watching = isIdle ? undefined : (watching ?? setInterval(watch, watchMs).unref());
    },
    clear() {
      clearTimeout(idle);
      clearTimeout(spare);
      clearInterval(watching);
    },
  };
}
