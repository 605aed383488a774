import { parentPort, workerData } from 'node:worker_threads';
import { epollWait } from '../kernel/index.ts';
import { WAKE } from './reactor.ts';
import type { ReactorData } from './reactor.ts';

// This thread has no event loop after its start: it waits in the kernel, reports, and waits again. The
// eventfd ends it.
const { epoll } = workerData as ReactorData;
parentPort?.postMessage('ready');
for (;;) {
  const ready = epollWait(epoll, 64, -1);
  if (ready.includes(WAKE)) break;
  parentPort?.postMessage(ready);
}
parentPort?.close();
