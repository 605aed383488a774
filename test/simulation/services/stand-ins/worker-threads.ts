import type { ServicesSettings } from '../../../../cni-plugins/services/control/protocol.ts';

/** In the place of `node:worker_threads`: a simulated Worker's port, and what it is started with. */
export interface Port {
  on(event: 'message', listener: (message: unknown) => void): void;
  postMessage(message: unknown): void;
  close(): void;
}

export let parentPort: Port | null = null;

/** Of the Worker that begins next. */
export function setPort(port: Port): void {
  parentPort = port;
}

export const workerData: ServicesSettings = { databasePath: '/network.db', balancer: 'nftables' };
