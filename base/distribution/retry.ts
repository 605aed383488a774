import { setTimeout as sleep } from 'node:timers/promises';
import { backOff, isBrokenOff, isServerFault, isSilence } from './passing-failure.ts';

/**
 * Repeats a request to read something whose connection breaks, before its answer or within it, or whose
 * answer is 500. A server that stays silent is not asked again: the time for the request would be over.
 */
export async function askAgain<T>(
  attempts: number,
  signal: AbortSignal | undefined,
  ask: () => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask();
    } catch (thrown) {
      const passes = isServerFault(thrown) || (isBrokenOff(thrown) && !isSilence(thrown));
      if (attempt >= attempts || !passes || signal?.aborted === true) throw thrown;
      // The next attempt reports that the signal was aborted.
      await sleep(backOff(attempt), undefined, { signal }).catch(() => undefined);
    }
  }
}
