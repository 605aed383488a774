import { setTimeout as sleep } from 'node:timers/promises';
import { isPortcullisError } from '../errors/index.ts';

/** Such answers to one walk, in all. */
const stumbleLimit = 20;

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

function isStumble(error: unknown): boolean {
  if (!isPortcullisError(error)) return false;
  const status = error.failure.details?.['status'];
  return typeof status === 'number' && (status === 500 || (status === 400 && error.failure.why.includes('DIGEST_INVALID')));
}
