import { getHeapStatistics } from 'node:v8';
import { trimHeap } from '../../../base/kernel/index.ts';

/**
 * Defined when Node runs with --expose-gc, as the daemon does. A program without it leaves memory to V8 and
 * the C library.
 */
const collectGarbage = (globalThis as { gc?: () => void }).gc;
const slackBytes = 8 * 1024 * 1024;
/** After a job that is repeated seldom, a collection costs less than the garbage takes until the next one. */
const slackOfSeldom = 2 * 1024 * 1024;
/** The time of a collection grows with the live data, so collections are rarer if there is more live data. */
const growth = 1.5;
/** Number of values between two checks of the memory. */
const portion = 250;
let kept = 0;

/**
 * Collects garbage and returns free memory to the kernel, if usage grew by half and 8 MiB since the last
 * collection. For a thread that keeps thousands of small values and is idle between changes, where V8 would
 * let garbage grow to many times the size of the live data. Call it now and then, and after each portion of a
 * large job.
 */
export function giveMemoryBack(): void {
  if (usedBytes() >= kept * growth + slackBytes) giveAllMemoryBack();
}

/**
 * Collects garbage and returns free memory to the kernel, if usage grew by 2 MiB since the last collection.
 * Call it after a job that is repeated seldom: its garbage would otherwise stay until the next one.
 */
export function giveGarbageBack(): void {
  if (usedBytes() >= kept + slackOfSeldom) giveAllMemoryBack();
}

/**
 * Collects garbage and returns free memory to the kernel, however little it is. Call it after a large job:
 * V8 would otherwise collect its garbage in steps, and so delay the small jobs that follow.
 */
export function giveAllMemoryBack(): void {
  if (collectGarbage === undefined) return;
  collectGarbage();
  try {
    trimHeap();
  } catch {
    // This C library keeps free memory.
  }
  kept = usedBytes();
}

/** Includes buffers, which a collection also frees. */
function usedBytes(): number {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

/** Yields the same values, and gives memory back after each portion of them. */
export function* givingMemoryBack<T>(values: Iterable<T>): Generator<T> {
  let given = 0;
  for (const value of values) {
    yield value;
    given += 1;
    if (given % portion === 0) giveMemoryBack();
  }
}
