import { port } from '../worker.ts';

/** Replaces `node:worker_threads` in the Worker for layers: its port leads to the simulated pool. */
export const parentPort = port;
/** A Worker of the pool that pulls use. */
export const workerData = null;
