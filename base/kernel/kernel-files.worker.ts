import { setImmediate } from 'node:timers/promises';
import { diskUsage } from './files/disk-usage.ts';
import { kernelError } from './ffi/errno.ts';
import { syncfs } from './files/files.ts';
import { removeTree } from './files/remove-tree.ts';
import { serveCalls } from './worker-calls.ts';

/** How long one walk runs before the other calls of this Worker run. */
const SLICE_MS = 5;

async function inSlices<T>(steps: Generator<void, T, void>): Promise<T> {
  let end = performance.now() + SLICE_MS;
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (performance.now() < end) continue;
    await setImmediate();
    end = performance.now() + SLICE_MS;
  }
}

let givesUp = false;

function* removal(path: string): Generator<void, void, void> {
  const steps = removeTree(path);
  for (let step = steps.next(); step.done !== true; step = steps.next()) {
    yield;
    if (!givesUp) continue;
    // This closes its descriptors.
    steps.return();
    throw kernelError('ECANCELED', 'remove tree', path, 'removals were cancelled');
  }
}

const calls = {
  syncfs,
  removeTree: (path: string) => inSlices(removal(path)),
  giveUpRemovals: () => void (givesUp = true),
  diskUsage: (path: string) => inSlices(diskUsage(path)),
};
export type FileCalls = typeof calls;
serveCalls(calls);
