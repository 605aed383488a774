import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';
import type { Worker } from 'node:worker_threads';

/**
 * A Worker that is terminated can abort the whole process. This happens when native code in it has to throw,
 * or reads an object's properties, during the termination (Node-API: napi_throw fails once no JavaScript may
 * run; node-addon-api answers with a fatal error). Therefore each Worker shares one number with its owner.
 * Such native code runs while the Worker holds the number, and the owner takes the number before it
 * terminates the Worker.
 */
const KEY = 'portcullis.termination';
/**
 * Bits of that number: one for the Worker and one for the owner. A Worker may finish what it runs while it
 * holds its bit. Once the owner asks for the number, the Worker starts nothing new.
 */
const HELD = 1;
const ASKED = 2;

/**
 * Longer than any native call that holds the number, also on a busy machine. A call that hangs does not keep
 * its Worker, or the process that ends, alive forever.
 */
const longestMs = 1_000;

// Read this before the thread starts another Worker, which changes it.
const own = isMainThread ? undefined : (getEnvironmentData(KEY) as unknown as Int32Array | undefined);
const children = new Set<Int32Array>();
let depth = 0;

/**
 * Runs native code that must not coincide with a termination of the calling Worker. The termination is
 * delayed by at most one second.
 */
export function unterminated<T>(work: () => T): T {
  if (own === undefined || depth > 0) return work();
  holdTermination();
  try {
    return work();
  } finally {
    releaseTermination();
  }
}

/** Begins what {@link unterminated} does, until {@link releaseTermination}. */
function holdTermination(): void {
  depth += 1;
  if (own === undefined || depth > 1) return;
  // This thread is being terminated: it sleeps until then.
  while (Atomics.compareExchange(own, 0, 0, HELD) !== 0) Atomics.wait(own, 0, ASKED);
}

/** Ends what {@link holdTermination} began: this thread may be terminated again. */
function releaseTermination(): void {
  depth -= 1;
  if (own === undefined || depth > 0) return;
  Atomics.and(own, 0, ~HELD);
  Atomics.notify(own, 0);
}

/**
 * Starts a Worker by `start`. Its `terminate()`, and its end with this process, wait for the code that it
 * runs through {@link unterminated}.
 */
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
  for (const shared of children) ask(shared);
  const until = performance.now() + longestMs;
  for (const shared of children)
    Atomics.wait(shared, 0, HELD | ASKED, Math.max(0, until - performance.now()));
}
