import { startSimulatedWorker } from '../threads.ts';

/** Replaces `base/process` in the network's engine: its Worker runs on the simulated machine. */
export { startSimulatedWorker as startWorker };
