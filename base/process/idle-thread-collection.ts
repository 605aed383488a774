import type { MessagePort } from 'node:worker_threads';

/** Longer than the pauses between the requests of a start, and between those of a pod. */
const quietMs = 4_000;
/** A collection takes 5 to 15 ms of processor time. Probes and metrics bring messages all the time. */
const everyMs = 60_000;

/**
 * Collects the garbage of this Worker once when `port` has brought no work for four seconds, after its start
 * and after each busy time, at most once a minute. A Worker that has little to do would keep what its start
 * left, a third of its heap, for days. Does nothing without V8's collector (`--expose-gc`).
 * @param isWork false for a message that arrives all the time, more often than the quiet time
 */
export function collectWhenQuiet(
  port: MessagePort,
  isWork: (message: unknown) => boolean = () => true,
  { quiet = quietMs, every = everyMs, gc = globalThis.gc } = {},
): void {
  if (gc === undefined) return;
  // The first collection also drops compiled code that only the start needed.
  let flavor: 'last-resort' | 'regular' = 'last-resort';
  let earliest = 0;
  let timer: NodeJS.Timeout;
  const soon = (): void => {
    timer = setTimeout(collect, Math.max(quiet, earliest - performance.now())).unref();
  };
  const collect = (): void => {
    void gc({ type: 'major', execution: 'sync', flavor });
    flavor = 'regular';
    earliest = performance.now() + every;
  };
  soon();
  port.on('message', (message: unknown) => {
    if (!isWork(message)) return;
    clearTimeout(timer);
    soon();
  });
}
