import { createJobCell } from './work-clock.ts';
import type { JobCell } from './work-clock.ts';
import type { UnpackAnswer, UnpackTask } from './protocol.ts';

/** One job of the unpack pool, from the moment it is asked for until it is answered. */
export interface Pending {
  readonly id: number;
  readonly task: UnpackTask;
  readonly lowers: () => Promise<readonly string[]>;
  readonly signal: AbortSignal | undefined;
  /** Jobs of one pull. */
  readonly group: object;
  readonly settle: PromiseWithResolvers<UnpackAnswer>;
  /** What the job works on, for messages. */
  readonly on: string;
  /** Of this try. */
  cell: JobCell;
  tries: number;
  /** It waits for the layers below, and so does not count as work: layers must never wait for each other's turn. */
  isWaiting: boolean;
  /** The layers below were there before this try began. */
  hasLowers: boolean;
  /** It gave its Worker back, to begin again when the layers below are there. */
  isAside: boolean;
  /** Of the layer, while it waits. */
  entries: number;
  cancelledAt: number | undefined;
  /** Why it fails, whatever its Worker answers: that was ended because of it, or the layers below are not there. */
  verdict: unknown;
}

export function createPending(given: Pick<Pending, 'id' | 'task' | 'lowers' | 'signal' | 'group'>): Pending {
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
    verdict: undefined,
  };
}

/** Makes the job ready to begin again from the start. */
export function renew(job: Pending): Pending {
  return Object.assign(job, { cell: createJobCell(), tries: job.tries + 1, isWaiting: false, isAside: false, entries: 0 });
}

/** Takes from the queue the oldest job of the pull with the fewest jobs at work: a pull of many layers does not hold up the others. */
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
