import { keepServed, startSimulatedWorker } from '../threads.ts';

/** In the place of `base/process` of services: their Workers are of the simulated machine. */
export * from '../../../../base/process/index.ts';
export { keepServed as serveThread, startSimulatedWorker as startWorker };
