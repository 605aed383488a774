import { setFlagsFromString } from 'node:v8';
import { reasonOf } from '../base/errors/index.ts';
import { unmapProgram } from '../base/kernel/index.ts';
import type { Logger } from '../base/log/index.ts';

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
  setFlagsFromString('--min-semi-space-size=1');
  setFlagsFromString(`--max-semi-space-size=${newObjectsMB}`);
}

/**
 * Unmaps the pages of Node that loading the daemon needed: V8's parser and compiler, and Node's own sources.
 * They would count among the memory of the start, which is the most that a small node ever needs.
 */
export function unmapLoader(log: Logger): void {
  try {
    unmapProgram();
  } catch (cause) {
    log.debug({ cause: reasonOf(cause) }, 'pages of the program stay mapped');
  }
}
