import type { ServicesSettings } from '../../../../cni-plugins/services/control/protocol.ts';
import type { SimulatedPort } from '../../workers.ts';

/** In the place of `node:worker_threads`: a simulated Worker's port, and what it is started with. */
export let parentPort: SimulatedPort | null = null;

/** Of the Worker that begins next. */
export function setPort(port: SimulatedPort): void {
  parentPort = port;
}

export const workerData: ServicesSettings = { databasePath: '/network.db', balancer: 'nftables' };
