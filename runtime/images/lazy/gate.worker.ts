import { parentPort, workerData } from 'node:worker_threads';
import { readPreContentEvents } from '../../../base/kernel/index.ts';

/**
 * Reads the events of a fanotify group, which blocks, and passes them to the filler. At most `most` events
 * wait for an answer; the others wait in the kernel.
 */
const { group, waiting, most } = workerData as {
  readonly group: number;
  /** One Int32: the number of events that have no answer yet. */
  readonly waiting: SharedArrayBuffer;
  readonly most: number;
};
const count = new Int32Array(waiting);

for (;;) {
  for (let now = Atomics.load(count, 0); now >= most; now = Atomics.load(count, 0))
    Atomics.wait(count, 0, now);
  const events = readPreContentEvents(group, 16);
  Atomics.add(count, 0, events.length);
  parentPort?.postMessage(events);
}
