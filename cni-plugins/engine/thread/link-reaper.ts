import type { Logger } from '../../../base/log/index.ts';

/** Deletes the links of detached pods that the kernel does not destroy by itself. */
export interface LinkReaper {
  /** Looks soon, unless a look is already planned. */
  reapLater(): void;
  stop(): void;
}

export interface LinkReaperDeps {
  /** Returns whether links can be deleted: the engine is open. */
  readonly isOpen: () => boolean;
  /**
   * Deletes links, and returns how many remain. @param force also those that the kernel may still destroy,
   * if they were detached more than `agedMs` ago
   */
  readonly reap: (force: boolean, agedMs: number) => number;
  /** Returns when the last call arrived, as `performance.now()`. */
  readonly lastCallAt: () => number;
  readonly log: Pick<Logger, 'warn'>;
}

// Soon after a namespace is gone, the kernel destroys its link by itself, so the link is only watched. A link
// that exists longer than this is deleted. That takes tens of milliseconds, so it does not interrupt other
// work, unless the link exists much longer.
const graceMs = 200;
const patienceMs = 1000;
const reapEveryMs = 10;
/** How often what has waited longer is looked at: by then, it mostly waits for others. */
const slowMs = 50;
const failedMs = 1000;

/** Plans nothing before the first request. */
export function createLinkReaper({ isOpen, reap, lastCallAt, log }: LinkReaperDeps): LinkReaper {
  let waitingSince: number | undefined;
  let timer: NodeJS.Timeout | undefined;

  const reapLater = (inMs = reapEveryMs): void => {
    if (!isOpen() || timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      const now = performance.now();
      waitingSince ??= now;
      const quiet = now - lastCallAt() > graceMs / 4;
      const force = now - waitingSince > patienceMs || (now - waitingSince > graceMs && quiet);
      try {
        if (reap(force, graceMs) > 0) reapLater(now - waitingSince > graceMs / 4 ? slowMs : reapEveryMs);
        else waitingSince = undefined;
        if (force) waitingSince = undefined;
      } catch (thrown) {
        log.warn({ why: String(thrown) }, 'a detached link could not be deleted; it is tried again');
        reapLater(failedMs);
      }
    }, inMs);
  };

  return { reapLater: () => reapLater(), stop: () => clearTimeout(timer) };
}
