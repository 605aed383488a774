import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';
import type { Worker } from 'node:worker_threads';

/**
 * Native code that has to throw, or reads an object's properties, while its Worker is being terminated aborts the whole process
 * (Node-API: napi_throw fails once no JavaScript may run; node-addon-api answers with a fatal error). So each Worker shares one
 * number with its owner: native code that does so runs while the Worker holds it, and the owner takes it before it terminates.
 */
const KEY = 'portcullis.termination';
/** Bits of that number: the Worker's, and the owner's. What the Worker holds it may finish; it takes nothing that is asked for. */
const HELD = 1;
const ASKED = 2;

/** Longer than any native call that is held; one that hangs does not keep its Worker for ever. */
const longestMs = 1_000;
/** At the process's end nothing else can run meanwhile. */
const longestAtExitMs = 50;

// Read before this thread starts a Worker of its own, which changes it.
const own = isMainThread ? undefined : (getEnvironmentData(KEY) as unknown as Int32Array | undefined);
const children = new Set<Int32Array>();
let depth = 0;

/** Runs native code that a termination of the calling Worker must not meet. It is held off for a second at most. */
export function unterminated<T>(work: () => T): T {
  if (own === undefined || depth > 0) return work();
  // This thread is being terminated: it sleeps until it is.
  while (Atomics.compareExchange(own, 0, 0, HELD) !== 0) Atomics.wait(own, 0, ASKED);
  depth += 1;
  try {
    return work();
  } finally {
    depth -= 1;
    Atomics.and(own, 0, ~HELD);
    Atomics.notify(own, 0);
  }
}

/** Starts a Worker by `start` whose `terminate()`, and whose end with this process, wait for what it runs {@link unterminated}. */
export function withTermination(start: () => Worker): Worker {
  const shared = new Int32Array(new SharedArrayBuffer(4));
  setEnvironmentData(KEY, shared);
  let worker: Worker;
  try {
    worker = start();
  } finally {
    setEnvironmentData(KEY, undefined);
  }
  if (children.size === 0) process.on('exit', askAll);
  children.add(shared);
  let isGone = false;
  worker.once('exit', () => {
    isGone = true;
    children.delete(shared);
    if (children.size === 0) process.off('exit', askAll);
  });
  const terminate = worker.terminate.bind(worker);
  worker.terminate = async () => {
    ask(shared);
    for (const from = performance.now(); isHeld(shared) && !isGone && performance.now() - from < longestMs;)
      await new Promise((resolve) => setTimeout(resolve, 1));
    return terminate();
  };
  return worker;
}

const ask = (shared: Int32Array): unknown => Atomics.or(shared, 0, ASKED);
const isHeld = (shared: Int32Array): boolean => (Atomics.load(shared, 0) & HELD) !== 0;

function askAll(): void {
  for (const shared of children) {
    ask(shared);
    Atomics.wait(shared, 0, HELD | ASKED, longestAtExitMs);
  }
}
