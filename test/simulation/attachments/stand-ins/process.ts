import { startSimulatedWorker } from '../threads.ts';

/** In the place of `base/process` of the network's engine: its Worker is of the simulated machine. */
export { startSimulatedWorker as startWorker };
