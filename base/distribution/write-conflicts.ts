import { setTimeout as sleep } from 'node:timers/promises';
import { isPortcullisError } from '../errors/index.ts';

/** The maximum number of such answers per operation. */
export const writeConflictLimit = 20;

/**
 * Retries a request when a registry fails because two clients write the same object. Debian's registry
 * answers 500 to a client that reads a tag at the moment it is written, and 400 (DIGEST_INVALID) to a client
 * that pushes bytes that another client is pushing. Both states last milliseconds.
 * @param limit how many such answers are accepted
 */
export function retryWriteConflicts(
  signal: AbortSignal | undefined,
  limit = writeConflictLimit,
): <T>(ask: () => Promise<T>) => Promise<T> {
  let left = limit;
  return async (ask) => {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (!isWriteConflict(error) || left <= 0) throw error;
        left -= 1;
        await sleep(10 + Math.random() * 40, undefined, { signal });
      }
    }
  };
}

/** Returns whether a registry failed in the way that concurrent writes of one object cause. */
export function isWriteConflict(error: unknown): boolean {
  const status = statusOf(error);
  return (
    status === 500 ||
    (status === 400 && isPortcullisError(error) && error.failure.why.includes('DIGEST_INVALID'))
  );
}

/** Returns whether a registry asked the client to wait. */
export function isBusy(error: unknown): boolean {
  const status = statusOf(error);
  return status === 429 || status === 503;
}

/** Returns whether a condition of the request did not hold, or the registry refuses to replace the tag. */
export function isFailedCondition(error: unknown): boolean {
  return statusOf(error) === 412;
}

function statusOf(error: unknown): unknown {
  return isPortcullisError(error) ? error.failure.details?.['status'] : undefined;
}
