import { stat } from 'node:fs';

let isStarted = false;

/**
 * Starts libuv's thread pool, which otherwise starts at the first asynchronous call of a file or a name. Its
 * threads stay in the namespaces of the thread that starts them for as long as the process runs.
 */
export function startIoPool(): void {
  if (isStarted) return;
  isStarted = true;
  stat('/', () => undefined);
}
