import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { WorkerOptions } from 'node:worker_threads';
import { withTermination } from './termination.ts';

/**
 * Starts the Worker whose source is `file` (`./x.worker.ts`, relative to the calling module). From source,
 * the file itself is loaded; from a bundle, `workers/x.worker.js` beside the bundle. Its `terminate()` waits
 * for native code that the Worker runs with `unterminated`.
 * @param moduleUrl the caller's `import.meta.url`
 */
export function startWorker(
  moduleUrl: string,
  file: `./${string}.worker.ts`,
  options: WorkerOptions = {},
): Worker {
  const name = file.slice(2, -'.ts'.length);
  const url = urlOf(moduleUrl, file);
  // Workers inherit `--input-type`. The option belongs to a program given by `-e`, and makes every Worker
  // fail that is a file.
  const ofEval = process.execArgv.some((argument) => argument.startsWith('--input-type'));
  return withTermination(() => new Worker(url, { name, ...(ofEval ? { execArgv: [] } : {}), ...options }));
}

/** Returns the file of such a source, for a program that runs it in a separate process. */
export function workerFile(moduleUrl: string, file: `./${string}.worker.ts`): string {
  return fileURLToPath(urlOf(moduleUrl, file));
}

function urlOf(moduleUrl: string, file: `./${string}.worker.ts`): URL {
  return moduleUrl.endsWith('.ts')
    ? new URL(file, moduleUrl)
    : new URL(`./workers/${file.slice(2, -'.ts'.length)}.js`, moduleUrl);
}
