import { serveThread } from '../../../base/process/index.ts';
import type { Blame } from '../../../base/process/index.ts';
import { createWorkers } from '../engine/workers.ts';
import type { SimulatedWorker } from '../engine/workers.ts';
import { servicesMachine } from './machine.ts';
import { setPort } from './started-worker.ts';

/** The arguments with which `services.worker.ts` serves: each Worker starts with them again. */
let served: Parameters<typeof serveThread> | undefined;

export function keepServed(
  blame: (call: string) => Blame,
  open: Parameters<typeof serveThread>[1],
): Promise<void> {
  served = [blame, open];
  return Promise.resolve();
}

const workers = createWorkers('thread of services', servicesMachine);

export function startSimulatedWorker(): SimulatedWorker {
  return workers.start((port) => {
    if (served === undefined) return;
    const [blame, open] = served;
    setPort(port);
    void serveThread(blame, open);
  });
}

export const loseThreads = workers.lose;
export const forgetThreads = workers.forget;
