const firstMs = 1000;
/** A change that always fails must not keep the node busy, and a repaired cause must be noticed soon. */
const longestMs = 60_000;
/** An item that ran for this long works: it is recreated at once. */
const steadyMs = 600_000;

/** How often an item was tried, and when it may be tried again. Times in ms of a clock that only rises. */
export interface Attempts {
  readonly failures: number;
  /** How often the item was made, without ten minutes between. */
  readonly made: number;
  readonly notBefore: number;
  readonly madeAt: number;
}

export const noAttempts: Attempts = { failures: 0, made: 0, notBefore: 0, madeAt: -Infinity };

const waitOf = (count: number): number => Math.min(longestMs, firstMs * 2 ** Math.min(count - 1, 16));

/** Returns the attempts after a failure: each one doubles the wait, up to a minute. */
export function afterFailure(attempts: Attempts, now: number): Attempts {
  const failures = attempts.failures + 1;
  return { ...attempts, failures, notBefore: now + waitOf(failures) };
}

/**
 * Returns the attempts after a success.
 * @param backsOff the item is not recreated at once if it soon disappears again
 */
export function afterSuccess(attempts: Attempts, now: number, backsOff: boolean): Attempts {
  const made = now - attempts.madeAt < steadyMs ? attempts.made + 1 : 1;
  return { failures: 0, made, madeAt: now, notBefore: backsOff && made > 1 ? now + waitOf(made - 1) : 0 };
}
