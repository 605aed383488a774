import { parentPort } from 'node:worker_threads';
import { koffi } from './koffi.ts';

parentPort?.postMessage(typeof koffi().load);
