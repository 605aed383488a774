import { setFlagsFromString } from 'node:v8';

/** A Worker keeps 5 to 10 MB alive. */
const firstCollectionMB = 8;
/** V8 keeps twice as much for new objects, and another part while it collects. */
const newObjectsMB = 2;

/**
 * Makes V8 collect the garbage of a Worker for the first time when its heap has 8 MB, instead of 64, and
 * limits the memory for new objects to half of what the main thread has. Under load, ten threads that
 * allocate slowly would otherwise add hundreds of megabytes within the first quarter of an hour. Applies to
 * all Workers that this process starts afterwards. Later collections depend on what the Worker keeps alive
 * (docs/decisions/0029).
 */
export function collectWorkersEarly(): void {
  setFlagsFromString(`--initial-old-space-size=${firstCollectionMB}`);
  setFlagsFromString(`--max-semi-space-size=${newObjectsMB}`);
}
