import { startSimulatedWorker } from '../worker.ts';
import type { SimulatedWorker } from '../worker.ts';
import { machine } from '../machine.ts';

/** In the place of `base/process` of the image store: its Workers are of the simulated machine, and so is the boot. */
export * from '../../../../base/process/index.ts';

export function currentBootId(): string {
  return machine().bootId;
}

export function startWorker(): SimulatedWorker {
  return startSimulatedWorker();
}
