import type { WorkerSettings } from '../../../../cni-plugins/engine/thread/protocol.ts';
import type { SimulatedPort } from '../../workers.ts';

/** Replaces `node:worker_threads`: a simulated Worker's port and its start settings. */
export let parentPort: SimulatedPort | null = null;
export let workerData: WorkerSettings | undefined;

/** Sets the port and settings of the Worker that starts next. */
export function setWorker(port: SimulatedPort, settings: WorkerSettings): void {
  [parentPort, workerData] = [port, settings];
}
