import { writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { unterminated } from './termination.ts';

/** Takes as long as native code takes on a busy machine, and then writes to the standard output. */
unterminated(() => {
  parentPort?.postMessage('begun');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  writeSync(1, 'finished\n');
});
