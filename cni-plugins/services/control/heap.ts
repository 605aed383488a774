import { getHeapStatistics } from 'node:v8';

/** There with --expose-gc, as the daemon is started. */
const collectGarbage = (globalThis as { gc?: () => void }).gc;
const slackBytes = 6 * 1024 * 1024;

/**
 * For a thread that keeps thousands of small things and is idle between changes: V8 would let garbage grow to many times what is kept. Called
 * now and then, it collects when a fifth more stands there than after the last time.
 */
export function createHeapKeeper(): () => void {
  let kept = 0;
  return () => {
    if (collectGarbage === undefined || getHeapStatistics().used_heap_size < kept * 1.2 + slackBytes) return;
    collectGarbage();
    kept = getHeapStatistics().used_heap_size;
  };
}
