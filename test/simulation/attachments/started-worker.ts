import type { WorkerSettings } from '../../../cni-plugins/engine/thread/protocol.ts';
import type { SimulatedPort } from '../engine/workers.ts';

/** The port and the start settings of the Worker that was started last. */
export let parentPort: SimulatedPort | null = null;
export let workerData: WorkerSettings | undefined;

/** Sets the port and settings of the Worker that starts next. */
export function setWorker(port: SimulatedPort, settings: WorkerSettings): void {
  [parentPort, workerData] = [port, settings];
}
