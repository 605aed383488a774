import { reasonOf } from '../../base/errors/index.ts';
import { trimHeap } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { CallObserver } from '../cri/observe.ts';

/** Gives memory back when nobody waits for it: what a start or a busy time leaves stays until V8's heap is full otherwise. */
export interface QuietCollection {
  readonly calls: CallObserver;
  /** The time of quiet begins, also where nobody calls: what the start left is collected then. It would hold up the first calls by some 70 ms. */
  atStart(): void;
  close(): void;
}

/** Longer than idle Workers live, whose memory is then returned as well. A kubelet's lists go on meanwhile, and wait for a pause. */
const quietMs = 20_000;
/** Each collection is a pause of some 20 ms; the second finds what the first only let go. */
const collections = 2;
const betweenMs = 1_000;

/** @param gc V8's collector; without it (the process was started without `--expose-gc`) nothing is done */
export function openQuietCollection(log: Logger, gc = globalThis.gc): QuietCollection {
  let timer: NodeJS.Timeout | undefined;
  let underWay = 0;
  const collect = (flavor: 'regular' | 'last-resort', left: number): void => {
    const started = performance.now();
    void gc?.({ type: 'major', execution: 'sync', flavor });
    if (left > 1) timer = setTimeout(collect, betweenMs, flavor, left - 1).unref();
    else trim(log);
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
          },
        };
      },
    },
    atStart: () => {
      if (gc === undefined || underWay > 0) return;
      clearTimeout(timer);
      timer = setTimeout(collect, quietMs, 'last-resort', collections).unref();
    },
    close: () => clearTimeout(timer),
  };
}

function trim(log: Logger): void {
  try {
    trimHeap();
  } catch (cause) {
    log.debug({ cause: reasonOf(cause) }, 'the C library keeps its memory');
  }
}
