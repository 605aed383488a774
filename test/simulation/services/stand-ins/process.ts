import { keepServed, startSimulatedWorker } from '../threads.ts';

/** Replaces `base/process` in services: their Workers run on the simulated machine. */
export * from '../../../../base/process/index.ts';
export { keepServed as serveThread, startSimulatedWorker as startWorker };
