import type { ServicesSettings } from '../../../../cni-plugins/services/control/protocol.ts';
import type { SimulatedPort } from '../../workers.ts';

/** Replaces `node:worker_threads`: a simulated Worker's port and its start settings. */
export let parentPort: SimulatedPort | null = null;

/** Sets the port of the Worker that starts next. */
export function setPort(port: SimulatedPort): void {
  parentPort = port;
}

export const workerData: ServicesSettings = { databasePath: '/network.db', balancer: 'nftables' };
