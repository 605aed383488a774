import type { WorkerSettings } from '../../../cni-plugins/engine/thread/protocol.ts';
import { createWorkers } from '../engine/workers.ts';
import type { SimulatedWorker } from '../engine/workers.ts';
import { attachmentsMachine } from './machine.ts';
import { setWorker } from './started-worker.ts';

/** `network.worker.ts` as a function: the code that runs when a Worker loads it (see `../stand-ins.ts`). */
let networkThread: (() => Promise<void>) | undefined;

export async function loadNetworkThread(): Promise<void> {
  const file = new URL('../../../cni-plugins/engine/thread/network.worker.ts', import.meta.url).href;
  networkThread = ((await import(file)) as { readonly thread: () => Promise<void> }).thread;
}

const workers = createWorkers('network thread', attachmentsMachine);

export function startSimulatedWorker(
  _base: string,
  _file: string,
  { workerData }: { readonly workerData: WorkerSettings },
): SimulatedWorker {
  return workers.start((port) => {
    setWorker(port, workerData);
    return networkThread?.();
  });
}

export const loseThreads = workers.lose;
export const forgetThreads = workers.forget;
