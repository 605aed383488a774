import type { WorkerSettings } from '../../../../cni-plugins/attach/protocol.ts';
import type { SimulatedPort } from '../../workers.ts';

/** In the place of `node:worker_threads`: a simulated Worker's port, and what it is started with. */
export let parentPort: SimulatedPort | null = null;
export let workerData: WorkerSettings | undefined;

/** Of the Worker that begins next. */
export function setWorker(port: SimulatedPort, settings: WorkerSettings): void {
  [parentPort, workerData] = [port, settings];
}
