import { getHeapStatistics } from 'node:v8';
import { trimHeap } from '../../base/kernel/index.ts';

/** There with --expose-gc, as the daemon is started; a program without it leaves all this to V8 and the C library. */
const collectGarbage = (globalThis as { gc?: () => void }).gc;
const slackBytes = 4 * 1024 * 1024;
/** Values that are looked at between two looks at the memory. */
const portion = 250;
let kept = 0;

/**
 * For a thread that keeps thousands of small things and is idle between changes: V8 would let garbage grow to many times what is kept. Called
 * now and then, and after each portion of much work, it collects when a tenth and 4 MiB more stands there than after the last time, and returns to
 * the kernel what is free then.
 */
export function giveMemoryBack(): void {
  if (collectGarbage === undefined || usedBytes() < kept * 1.1 + slackBytes) return;
  collectGarbage();
  try {
    trimHeap();
  } catch {
    // A C library that keeps what is free.
  }
  kept = usedBytes();
}

/** Also of buffers, which a collection frees. */
function usedBytes(): number {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

/** The same values; after each so many of them memory is given back. */
export function* givingMemoryBack<T>(values: Iterable<T>): Generator<T> {
  let given = 0;
  for (const value of values) {
    yield value;
    given += 1;
    if (given % portion === 0) giveMemoryBack();
  }
}
