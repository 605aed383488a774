import type { Logger } from '../../../base/log/index.ts';
import type { FromWorker } from './protocol.ts';

/** Returns a log whose lines the main thread writes. @param debug whether lines of this level are written */
export function createThreadLog(
  post: (message: FromWorker) => void,
  debug: boolean,
): Pick<Logger, 'debug' | 'info' | 'warn' | 'error'> {
  return {
    // The main thread is not woken up for lines that are not written.
    debug: (fields, message) => (debug ? post({ level: 'debug', fields, message }) : undefined),
    info: (fields, message) => post({ level: 'info', fields, message }),
    warn: (fields, message) => post({ level: 'warn', fields, message }),
    error: (fields, message) => post({ level: 'error', fields, message }),
  };
}
