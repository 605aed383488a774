import { parentPort, workerData } from 'node:worker_threads';
import { gzipEngine, inflateChunks } from './index.ts';

/** Inflates the file that it is given, again and again. */
const create = gzipEngine();
if (create === undefined) throw new Error('no engine inflates gzip');
for (;;) {
  for await (const chunk of inflateChunks(workerData as string, create, new AbortController().signal))
    parentPort?.postMessage(chunk.length);
}
