import { port } from '../worker.ts';

/** Replaces `node:worker_threads` in the unpack Worker: its port leads to the simulated pool. */
export const parentPort = port;
