import { parentPort, workerData } from 'node:worker_threads';
import { openNetworkDatabase } from '../database/database.ts';

/**
 * Holds the lock of the network database at `workerData`, in the middle of a transaction, until the thread is
 * terminated.
 */
const database = openNetworkDatabase(workerData as string);
database.exclusively(() =>
  database.transaction(() => {
    parentPort?.postMessage('held');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  }),
);
