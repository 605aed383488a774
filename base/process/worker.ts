import { EventEmitter } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { WorkerOptions } from 'node:worker_threads';
import { withTermination } from './termination.ts';

/**
 * Starts the Worker whose source is `file` (`./x.worker.ts`, relative to the calling module). From source,
 * the file itself is loaded; from a bundle, `workers/x.worker.js` (or `whole-workers/`) beside the bundle.
 * Its `terminate()` waits for native code that the Worker runs with `unterminated`. A Worker that cannot be
 * started is lost like any other: it emits `error` and `exit`.
 * @param moduleUrl the caller's `import.meta.url`
 * @throws Error for options that Node refuses
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
  try {
    return withTermination(() => new Worker(url, { name, ...(ofEval ? { execArgv: [] } : {}), ...options }));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ERR_WORKER_INIT_FAILED') throw thrown;
    return notStarted(thrown);
  }
}

/**
 * Returns a Worker that ends at once. Node emits `error` for a Worker that gets no descriptor, but throws if
 * it gets no thread (EAGAIN). The exception would reach the timer or the event that needed the Worker, and
 * end the process.
 */
function notStarted(cause: unknown): Worker {
  const message = `no thread can be started: ${cause instanceof Error ? cause.message : String(cause)}`;
  const error = Object.assign(new Error(message, { cause }), { code: 'ERR_WORKER_INIT_FAILED' });
  const exited = Promise.withResolvers<number>();
  const worker = Object.assign(new EventEmitter(), {
    threadId: -1,
    postMessage: (): void => undefined,
    ref: (): void => undefined,
    unref: (): void => undefined,
    terminate: (): Promise<number> => exited.promise,
  });
  setImmediate(() => {
    worker.emit('error', error);
    worker.emit('exit', 1);
    exited.resolve(1);
  });
  return worker as unknown as Worker;
}

/** Returns the file of such a source, for a program that runs it in a separate process. */
export function workerFile(moduleUrl: string, file: `./${string}.worker.ts`): string {
  return fileURLToPath(urlOf(moduleUrl, file));
}

function urlOf(moduleUrl: string, file: `./${string}.worker.ts`): URL {
  if (moduleUrl.endsWith('.ts')) return new URL(file, moduleUrl);
  // A program that was built as one file starts Workers that were built in the same way.
  const folder = moduleUrl.endsWith('.whole.js') ? 'whole-workers' : 'workers';
  return new URL(`./${folder}/${file.slice(2, -'.ts'.length)}.js`, moduleUrl);
}
