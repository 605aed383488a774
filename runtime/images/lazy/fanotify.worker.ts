import { parentPort, workerData } from 'node:worker_threads';
import { attempt, meansShortage } from '../../../base/errors/index.ts';
import { raiseThreadPriority, readPreContentEvents } from '../../../base/kernel/index.ts';
import type { PreContentEvent } from '../../../base/kernel/index.ts';

/**
 * Reads the events of a fanotify group, which blocks, and passes them to the filler. At most `most` events
 * wait for an answer; the others wait in the kernel.
 */
const { group, waiting, most, nice } = workerData as {
  readonly group: number;
  /** One Int32: the number of events that have no answer yet. */
  readonly waiting: SharedArrayBuffer;
  readonly most: number;
  /** The priority of this thread, for which processes wait. */
  readonly nice: number;
};
const count = new Int32Array(waiting);
const pauseMs = 10;

// Without CAP_SYS_NICE, events are read later.
attempt(() => raiseThreadPriority(nice));

/** If no descriptor is free for an event, the kernel refuses the read. The filler must survive this. */
function nextEvents(): readonly PreContentEvent[] {
  try {
    return readPreContentEvents(group, 16);
  } catch (thrown) {
    if (!meansShortage(thrown)) throw thrown;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
    return [];
  }
}

for (;;) {
  for (let now = Atomics.load(count, 0); now >= most; now = Atomics.load(count, 0))
    Atomics.wait(count, 0, now);
  const events = nextEvents();
  if (events.length === 0) continue;
  Atomics.add(count, 0, events.length);
  parentPort?.postMessage(events);
}
