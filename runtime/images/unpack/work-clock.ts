import { imageError } from '../limits/failures.ts';
import type { LayerProgress } from './layer-budget.ts';

/**
 * The memory that an unpack job shares with its owner. A Worker reads no messages while it works, so a
 * cancellation arrives through shared memory, and the owner reads there how long the job has worked: it ends
 * a Worker that does not stop.
 */
export type JobCell = SharedArrayBuffer;

const word = { stop: 0, workedMs: 1, since: 2, entries: 3, kibibytes: 4 } as const;
const words = 5;

/** How long a job has worked, as its owner sees it. */
export interface WorkState {
  /** Whether the job occupies its Worker at this moment. */
  readonly isWorking: boolean;
  /**
   * Milliseconds that the job has occupied its Worker, including the present turn; waiting is not counted.
   */
  readonly workedMs: number;
  readonly progress: LayerProgress;
}

export function createJobCell(): JobCell {
  return new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT);
}

/** Asks the job to stop: it stops at its next `goOn`. */
export function stopJob(cell: JobCell): void {
  Atomics.store(new Int32Array(cell), word.stop, 1);
}

export function readWork(cell: JobCell): WorkState {
  const shared = new Int32Array(cell);
  const since = Atomics.load(shared, word.since);
  const worked = Atomics.load(shared, word.workedMs);
  return {
    isWorking: since !== 0,
    workedMs: since === 0 ? worked : worked + elapsed(since),
    progress: {
      entries: Atomics.load(shared, word.entries),
      bytes: Atomics.load(shared, word.kibibytes) * 1024,
    },
  };
}

const baseMs = 120_000;
const entryMs = 2;
const bytesPerMs = 4096;

/**
 * Returns the milliseconds that a layer may occupy a Worker: two minutes, 2 ms per entry and one second for
 * each 4 MiB of content that was read. A disk with 4 MiB/s and 500 files per second is fast enough.
 */
export function unpackAllowance({ entries, bytes }: LayerProgress): number {
  return baseMs + entries * entryMs + bytes / bytesPerMs;
}

const asksPerReading = 64;

/** The clock on the side of the job. */
export interface WorkClock {
  /** Runs `body` as one turn of the job: its time counts. */
  turn<T>(body: () => T): T;
  /** @throws IMAGES_CANCELLED, IMAGES_UNPACK_OVERDUE */
  goOn(progress: LayerProgress): void;
}

/** @param on the object of the job, for messages */
export function createWorkClock(cell: JobCell, on: string, allowance = unpackAllowance): WorkClock {
  const shared = new Int32Array(cell);
  let worked = 0;
  let began = 0;
  let asked = 0;
  return {
    turn(body) {
      began = performance.now();
      Atomics.store(shared, word.since, now());
      try {
        return body();
      } finally {
        worked += performance.now() - began;
        Atomics.store(shared, word.workedMs, worked);
        Atomics.store(shared, word.since, 0);
      }
    },
    goOn(progress) {
      if (Atomics.load(shared, word.stop) !== 0) throw cancelledError(on);
      // Reading the clock costs more than the rest, so it is not read at each call.
      if (asked++ % asksPerReading !== 0) return;
      Atomics.store(shared, word.entries, progress.entries);
      Atomics.store(shared, word.kibibytes, progress.bytes / 1024);
      const spent = worked + performance.now() - began;
      if (spent > allowance(progress)) throw overdueError(on, spent);
    },
  };
}

export function cancelledError(on: string): Error {
  return imageError({
    code: 'IMAGES_CANCELLED',
    kind: 'cancelled',
    attempted: 'unpack layer',
    on,
    why: 'the pull was cancelled',
    fix: 'pull again',
  });
}

export function overdueError(on: string, workedMs: number): Error {
  return imageError({
    code: 'IMAGES_UNPACK_OVERDUE',
    kind: 'deadline',
    attempted: 'unpack layer',
    on,
    why: `it took longer than its size allows (${Math.round(workedMs / 1000)} s)`,
    fix: 'check whether the disk of the image store responds; if it does, the layer was built to be slow: do not use the image',
  });
}

/**
 * Returns the milliseconds of the clock that all threads of the process share, modulo 2^32; never 0, which
 * means "not working".
 */
function now(): number {
  return Number(BigInt.asIntN(32, process.hrtime.bigint() / 1_000_000n)) || 1;
}

function elapsed(since: number): number {
  return Math.max(0, (now() - since) | 0);
}
