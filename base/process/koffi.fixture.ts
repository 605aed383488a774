import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { withTermination } from './termination.ts';

// Terminates Workers while they load native code. Without care, that aborts this process.
const start = (): Worker => {
  const worker = withTermination(() => new Worker(new URL('./koffi.worker.fixture.ts', import.meta.url)));
  worker.on('error', () => undefined);
  return worker;
};
let loadMs = 0;
for (let round = 0; round < 4; round += 1) {
  const worker = start();
  const begun = performance.now();
  await once(worker, 'message');
  loadMs = performance.now() - begun;
  await worker.terminate();
}
for (let round = 0; round < 250; round += 1) {
  const worker = start();
  await pause(loadMs * (0.5 + (round % 50) / 100));
  await worker.terminate();
}
