import { port } from '../worker.ts';

/** In the place of `node:worker_threads` of the unpack Worker: its port leads to the simulated pool. */
export const parentPort = port;
