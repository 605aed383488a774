import { reasonOf } from '../../base/errors/index.ts';
import { fixHeapThresholds, trimHeap, unmapProgram } from '../../base/kernel/index.ts';
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
   * Called at the end of the start. When no call has changed anything for half a second, what only the start
   * needed is given back: idle Workers end, and the memory that the start left is collected. During the first
   * calls the collection would delay them by about 70 ms. On a node without pods it also happens at once:
   * nobody waits for such a start.
   * @param hasPods the node has records of pods
   */
  atStart(hasPods: boolean): void;
  close(): void;
}

/** Functions that give memory back beside V8's collector. */
interface MemorySources {
  readonly fixThresholds: (mapFrom: number, trimFrom: number) => void;
  /** Returns free memory of the C library. */
  readonly trim: () => void;
  /** Unmaps pages of the program, which stay in the page cache. */
  readonly unmap: () => void;
  /** Ends Workers without work. */
  readonly rest: () => void;
  /**
   * Ends Workers without work that a pull does not need.
   * @param isFirst the daemon was not quiet between its start and this pull
   */
  readonly restForPull: (isFirst: boolean) => void;
}

/** After this time without a call that changes something, what only the start needed is given back. */
const startMs = 500;
/** The Workers have ended by then, and their memory is returned as well. */
const restMs = 300;
/**
 * Longer than the lifetime of idle Workers, so that their memory is returned as well. A kubelet's lists
 * continue meanwhile, and wait for a pause.
 */
const quietMs = 20_000;
/** Each is a pause of about 20 ms. The second regular collection frees what the first one only released. */
const collections = 2;
const betweenMs = 1_000;
/** From the first pull to its collection: the Workers have ended by then. */
const pullMs = 50;
/** In a busy time memory is returned this often, by one collection. That is a pause of 70 to 100 ms. */
const busyEveryMs = 300_000;
/**
 * In a busy time pages of the program are unmapped this often. That takes half a millisecond, and as much to
 * map again those that are in use.
 */
const unmapEveryMs = 2_000;
/** During a pull, whose own memory is added to these pages. */
const unmapInPullMs = 100;
/** From these sizes, in bytes, the C library returns a freed block at once, and the end of its heap. */
const [mapFrom, trimFrom] = [256 * 1024, 4 * 1024 * 1024];

/**
 * Opens the collection.
 * @param gc V8's collector; without it (the process was started without `--expose-gc`) nothing is done
 */
export function openQuietCollection(
  log: Logger,
  {
    fixThresholds = fixHeapThresholds,
    trim = trimHeap,
    unmap = unmapProgram,
    rest,
    restForPull,
  }: Pick<MemorySources, 'rest' | 'restForPull'> & Partial<MemorySources>,
  gc = globalThis.gc,
): QuietCollection {
  let timer: NodeJS.Timeout | undefined;
  let underWay = 0;
  let pulls = 0;
  let isStarting = false;
  let unmapping: NodeJS.Timeout | undefined;
  let early: NodeJS.Timeout | undefined;
  let returnedAt = performance.now();
  let unmappedAt = returnedAt;
  const attempt = (act: () => void): void => {
    try {
      act();
    } catch (cause) {
      log.debug({ cause: reasonOf(cause) }, 'memory is not returned');
    }
  };
  const unmapNow = (): void => {
    unmappedAt = performance.now();
    attempt(unmap);
  };
  const after = (milliseconds: number, act: () => void): void => {
    clearTimeout(timer);
    timer = setTimeout(act, milliseconds).unref();
  };
  const collect = (flavor: 'regular' | 'last-resort', left: number): void => {
    const started = performance.now();
    void gc?.({ type: 'major', execution: 'sync', flavor });
    if (left > 1) after(betweenMs, () => collect(flavor, left - 1));
    else {
      // A call that came before this point has put the collection off, and it is still needed.
      isStarting = false;
      returnedAt = performance.now();
      attempt(trim);
      unmapNow();
    }
    log.debug({ milliseconds: Math.round(performance.now() - started) }, 'collected garbage');
  };
  const settle = (): void => {
    rest();
    // It collects until nothing more is found.
    after(restMs, () => collect('last-resort', 1));
  };
  const whenQuiet = (): void => {
    if (isStarting) after(startMs, settle);
    else after(quietMs, () => collect('regular', collections));
  };
  /**
   * A pull needs the most memory of all calls. One that begins before the daemon was quiet would add it to
   * what the start left.
   */
  const beginPull = (): void => {
    pulls += 1;
    unmapping ??= setInterval(unmapNow, unmapInPullMs).unref();
    restForPull(isStarting);
    if (!isStarting) return;
    isStarting = false;
    early = setTimeout(() => collect('regular', 1), pullMs).unref();
  };
  const endPull = (): void => {
    pulls -= 1;
    if (pulls > 0) return;
    clearInterval(unmapping);
    unmapping = undefined;
  };
  return {
    calls: {
      begin: ({ readsOnly, rpc }) => {
        if (readsOnly || gc === undefined) return { end: () => undefined };
        const isPull = rpc === 'PullImage';
        if (isPull) beginPull();
        underWay += 1;
        clearTimeout(timer);
        return {
          end: () => {
            underWay -= 1;
            clearTimeout(timer);
            if (isPull) endPull();
            if (underWay === 0) whenQuiet();
            if (performance.now() - returnedAt > busyEveryMs) collect('regular', 1);
            else if (performance.now() - unmappedAt > unmapEveryMs) unmapNow();
          },
        };
      },
    },
    atStart: (hasPods) => {
      // Fixed thresholds make a start a quarter of a second longer, so they are set at its end.
      attempt(() => fixThresholds(mapFrom, trimFrom));
      if (hasPods || gc === undefined) unmapNow();
      else collect('last-resort', 1);
      if (gc === undefined) return;
      isStarting = true;
      if (underWay === 0) whenQuiet();
    },
    close: () => {
      clearTimeout(timer);
      clearTimeout(early);
      clearInterval(unmapping);
    },
  };
}
