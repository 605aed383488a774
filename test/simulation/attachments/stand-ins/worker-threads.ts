/** Replaces `node:worker_threads`: a simulated Worker's port and its start settings. */
export { parentPort, workerData } from '../started-worker.ts';
