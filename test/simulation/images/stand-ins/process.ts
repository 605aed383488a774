import { startSimulatedWorker } from '../worker.ts';
import type { SimulatedWorker } from '../worker.ts';
import { machine } from '../machine.ts';

/**
 * Replaces `base/process` in the image store: its Workers and the boot are those of the simulated machine.
 */
export * from '../../../../base/process/index.ts';

export function currentBootId(): string {
  return machine().bootId;
}

export function startWorker(): SimulatedWorker {
  return startSimulatedWorker();
}
