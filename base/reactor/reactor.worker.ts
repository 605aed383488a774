import { parentPort, workerData } from 'node:worker_threads';
import { epollWait } from '../kernel/index.ts';
import { koffi } from '../process/index.ts';
import { WAKE } from './reactor.ts';
import type { ReactorData } from './reactor.ts';

// This thread has no event loop after its start: it waits in the kernel, reports, and waits again. The
// eventfd ends it.
const { epoll } = workerData as ReactorData;
// Loads the native calls. Afterwards the thread reaches the kernel at once, and only an event ends it there.
koffi();
parentPort?.postMessage('ready');
for (;;) {
  const ready = epollWait(epoll, 64, -1);
  if (ready.includes(WAKE)) break;
  parentPort?.postMessage(ready);
}
parentPort?.close();
