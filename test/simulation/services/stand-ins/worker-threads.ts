import type { ServicesSettings } from '../../../../cni-plugins/services/control/protocol.ts';

/** Replaces `node:worker_threads`: a simulated Worker's port and its start settings. */
export { parentPort } from '../started-worker.ts';

export const workerData: ServicesSettings = { databasePath: '/network.db', balancer: 'nftables' };
