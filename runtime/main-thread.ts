import { reasonOf } from '../base/errors/index.ts';
import { raiseThreadPriority } from '../base/kernel/index.ts';
import type { Logger } from '../base/log/index.ts';

/** It only routes, and everything waits for it: it must not queue behind forty starting containers. */
export function favourMainThread(log: Logger): void {
  try {
    raiseThreadPriority(-10);
  } catch (cause) {
    log.info({ cause: reasonOf(cause) }, 'the main thread keeps its usual priority');
  }
}
