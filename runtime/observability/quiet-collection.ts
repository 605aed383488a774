import { reasonOf } from '../../base/errors/index.ts';
import { fixHeapThresholds, trimHeap } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { CallObserver } from '../cri/observe.ts';

/**
 * Returns free memory to the system when no caller waits for it, and every five minutes in a busy time.
 * Otherwise the memory left by the start or by a busy time stays until V8's heap is full, and that of the C
 * library, which all threads share, grows with each peak of the load.
 */
export interface QuietCollection {
  readonly calls: CallObserver;
  /**
   * Starts the quiet time, even if no call comes, so that the memory left by the start is collected then.
   * During the first calls the collection would delay them by about 70 ms.
   */
  atStart(): void;
  close(): void;
}

/**
 * Longer than the lifetime of idle Workers, so that their memory is returned as well. A kubelet's lists
 * continue meanwhile, and wait for a pause.
 */
const quietMs = 20_000;
/** Each collection is a pause of about 20 ms. The second one frees what the first one only released. */
const collections = 2;
const betweenMs = 1_000;
/** In a busy time memory is returned this often, by one collection. That is a pause of 70 to 100 ms. */
const busyEveryMs = 300_000;
/** From these sizes, in bytes, the C library returns a freed block at once, and the end of its heap. */
const [mapFrom, trimFrom] = [256 * 1024, 4 * 1024 * 1024];

/**
 * Opens the collection.
 * @param gc V8's collector; without it (the process was started without `--expose-gc`) nothing is done
 * @param library the C library's memory
 */
export function openQuietCollection(
  log: Logger,
  gc = globalThis.gc,
  library = { trim: trimHeap, fixThresholds: fixHeapThresholds },
): QuietCollection {
  let timer: NodeJS.Timeout | undefined;
  let underWay = 0;
  let returnedAt = performance.now();
  const attempt = (act: () => void): void => {
    try {
      act();
    } catch (cause) {
      log.debug({ cause: reasonOf(cause) }, 'the C library keeps its memory');
    }
  };
  const collect = (flavor: 'regular' | 'last-resort', left: number): void => {
    const started = performance.now();
    void gc?.({ type: 'major', execution: 'sync', flavor });
    if (left > 1) timer = setTimeout(collect, betweenMs, flavor, left - 1).unref();
    else {
      returnedAt = performance.now();
      attempt(library.trim);
    }
    log.debug({ milliseconds: Math.round(performance.now() - started) }, 'collected garbage');
  };
  return {
    calls: {
      begin: ({ readsOnly }) => {
        if (readsOnly || gc === undefined) return { end: () => undefined };
        underWay += 1;
        clearTimeout(timer);
        return {
          end: () => {
            underWay -= 1;
            clearTimeout(timer);
            if (underWay === 0) timer = setTimeout(collect, quietMs, 'regular', collections).unref();
            if (performance.now() - returnedAt > busyEveryMs) collect('regular', 1);
          },
        };
      },
    },
    atStart: () => {
      // Fixed thresholds make a start a quarter of a second longer, so they are set at its end.
      attempt(() => library.fixThresholds(mapFrom, trimFrom));
      if (gc === undefined || underWay > 0) return;
      clearTimeout(timer);
      timer = setTimeout(collect, quietMs, 'last-resort', collections).unref();
    },
    close: () => clearTimeout(timer),
  };
}
