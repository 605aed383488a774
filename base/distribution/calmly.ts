import { setTimeout as sleep } from 'node:timers/promises';
import { isPortcullisError } from '../errors/index.ts';

/** Such answers to one walk, in all. */
export const stumbleLimit = 20;

/**
 * Asks again where a registry stumbles over two writers of one thing. Debian's answers 500 to who reads a tag at the moment it is
 * written, and 400 (DIGEST_INVALID) to who pushes the bytes that another is just pushing: both pass within milliseconds.
 */
export function calmly(signal: AbortSignal | undefined): <T>(ask: () => Promise<T>) => Promise<T> {
  let left = stumbleLimit;
  return async (ask) => {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (!isStumble(error) || left <= 0) throw error;
        left -= 1;
        await sleep(10 + Math.random() * 40, undefined, { signal });
      }
    }
  };
}

/** Whether a registry failed as it does while two write one thing. */
export function isStumble(error: unknown): boolean {
  const status = statusOf(error);
  return status === 500 || (status === 400 && isPortcullisError(error) && error.failure.why.includes('DIGEST_INVALID'));
}

/** Whether a registry asked for patience. */
export function isBusy(error: unknown): boolean {
  const status = statusOf(error);
  return status === 429 || status === 503;
}

function statusOf(error: unknown): unknown {
  return isPortcullisError(error) ? error.failure.details?.['status'] : undefined;
}
