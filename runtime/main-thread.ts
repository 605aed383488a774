import { reasonOf } from '../base/errors/index.ts';
import { makeThreadPrompt, raiseThreadPriority } from '../base/kernel/index.ts';
import type { Logger } from '../base/log/index.ts';

/** It only routes, a few milliseconds at a time, and everything waits for it: it must not queue behind forty starting containers. */
export function favourMainThread(log: Logger): void {
  try {
    raiseThreadPriority(-10);
    makeThreadPrompt();
  } catch (cause) {
    log.info({ cause: reasonOf(cause) }, 'the main thread takes its turn among others');
  }
}
