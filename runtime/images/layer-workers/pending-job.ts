import { reasonOf } from '../../../base/errors/index.ts';
import { imageError } from '../limits/failures.ts';
import { createJobCell, readWork } from '../unpack/work-clock.ts';
import type { JobCell } from '../unpack/work-clock.ts';
import type { LayerAnswer, LayerTask } from './protocol.ts';

/** One job of the layer pool, from the request to the answer. */
export interface Pending {
  readonly id: number;
  readonly task: LayerTask;
  readonly lowers: () => Promise<readonly string[]>;
  readonly signal: AbortSignal | undefined;
  /** Groups the jobs of one pull. */
  readonly group: object;
  /** The size of its blob; 0 if it has none. */
  readonly bytes: number;
  readonly settle: PromiseWithResolvers<LayerAnswer>;
  /** The object of the job, for messages. */
  readonly on: string;
  /** The cell of this try. */
  cell: JobCell;
  tries: number;
  /**
   * The job waits for the layers below, and so does not count as work: layers must never wait for each
   * other's turn.
   */
  isWaiting: boolean;
  /** The layers below were present before this try began. */
  hasLowers: boolean;
  /** The job is suspended without a Worker, and starts again when the layers below are present. */
  isAside: boolean;
  /** Entries of the layer, while it waits. */
  entries: number;
  cancelledAt: number | undefined;
  /** The time since which no thread could be started, and no running thread could take the job. */
  starvedSince: number | undefined;
  /**
   * Why the job fails, whatever its Worker answers: the Worker was ended because of it, or the layers below
   * are missing.
   */
  verdict: unknown;
}

export function createPending(
  given: Pick<Pending, 'id' | 'task' | 'lowers' | 'signal' | 'group' | 'bytes'>,
): Pending {
  return {
    ...given,
    settle: Promise.withResolvers(),
    on: given.task.kind === 'unpack' ? given.task.request.diffId : '',
    cell: createJobCell(),
    tries: 1,
    isWaiting: false,
    hasLowers: false,
    isAside: false,
    entries: 0,
    cancelledAt: undefined,
    starvedSince: undefined,
    verdict: undefined,
  };
}

/** Makes the job ready to start again from the beginning. */
export function renew(job: Pending): Pending {
  return Object.assign(job, {
    cell: createJobCell(),
    tries: job.tries + 1,
    isWaiting: false,
    isAside: false,
    entries: 0,
  });
}

/**
 * Takes the oldest job of the pull with the fewest running jobs from the queue: a pull of many layers does
 * not block the others.
 */
export function pickFairly(queue: Pending[], underWay: readonly Pending[]): Pending | undefined {
  const busy = new Map<object, number>();
  for (const job of underWay) if (!job.isWaiting) busy.set(job.group, (busy.get(job.group) ?? 0) + 1);
  let best = -1;
  let least = Number.POSITIVE_INFINITY;
  for (const [index, { group }] of queue.entries()) {
    const count = busy.get(group) ?? 0;
    if (count >= least) continue;
    best = index;
    least = count;
    if (count === 0) break;
  }
  return best === -1 ? undefined : queue.splice(best, 1)[0];
}

/**
 * Whether a fetch may begin beside those that run. The blobs of one registry have at most half of the turns
 * that others leave: a registry that does not send anything must not stop the fetches from all others.
 * @param most how many fetches may run at the same time
 */
export function mayFetch(task: LayerTask, underWay: readonly Pick<Pending, 'task'>[], most: number): boolean {
  if (task.kind !== 'fetch') return true;
  const fetches = underWay.flatMap(({ task: each }) => (each.kind === 'fetch' ? [each.fetch] : []));
  const { registry } = task.fetch.reference;
  const own = fetches.filter(({ reference }) => reference.registry === registry).length;
  const left = most - fetches.length;
  return left > 0 && own <= left / 2;
}

/** Returns the fetches that may begin, or the other jobs. */
export function mayStart(
  queue: readonly Pending[],
  underWay: readonly Pending[],
  isFetch: boolean,
  mostFetches: number,
): Pending[] {
  const ofKind = queue.filter(({ task }) => (task.kind === 'fetch') === isFetch);
  return ofKind.filter(({ task }) => mayFetch(task, underWay, mostFetches));
}

/** One Worker unpacks as many bytes of compressed layers in about 0.3 seconds. */
const muchWorkBytes = 16 * 1024 * 1024;
const longWorkMs = 1_000;

/**
 * Whether jobs are worth another Worker, which takes 25 ms of processor time and 15 MB: their blobs are large
 * together, or one of them occupies its Worker for long.
 */
export function areMuchWork(jobs: Iterable<Pick<Pending, 'task' | 'bytes' | 'cell' | 'isWaiting'>>): boolean {
  let bytes = 0;
  for (const { task, bytes: more, cell, isWaiting } of jobs) {
    if (isWaiting) continue;
    // These two wait for the disk, and do nothing else meanwhile.
    if (task.kind === 'sync' || task.kind === 'verify') return true;
    if (readWork(cell).workedMs >= longWorkMs) return true;
    bytes += more;
  }
  return bytes >= muchWorkBytes;
}

/** Returns the error for a job whose Worker is lost, whatever its layer: IMAGES_STORE_FAILED. */
export function lost(reason: unknown): Error {
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

/** Returns the error for a job that did not get a thread in time: IMAGES_NO_THREAD. */
export function starved(reason: unknown, waitedMs: number): Error {
  return imageError({
    code: 'IMAGES_NO_THREAD',
    kind: 'exhausted',
    attempted: 'start a thread for a layer',
    on: '',
    why: `${reasonOf(reason)}, for ${Math.round(waitedMs / 1_000)} s`,
    fix: 'check whether the node has free processes, descriptors and memory (`TasksMax`, `LimitNOFILE`); then repeat the request',
    cause: reason,
  });
}
