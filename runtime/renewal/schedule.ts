/** All times in milliseconds; `random` is in [0, 1). */

const hour = 3_600_000;
const firstPause = 15_000;
const longestPause = 15 * 60_000;

/**
 * Returns when to ask for the successor of an answer: in the last fifth of its validity, at most an hour
 * before its end, and spread over time.
 * @param gathered when the answer was received
 */
export function firstTry(now: number, ends: number, gathered: number, random: number): number {
  const lead = Math.min(hour, Math.max(0, ends - gathered) / 5);
  return Math.max(now, ends - lead * (0.5 + random / 2));
}

/**
 * Returns when to try again after that many failures in a row: at growing intervals, up to a quarter of an
 * hour, and spread over time.
 */
export function nextTry(now: number, failures: number, random: number): number {
  return now + Math.min(longestPause, firstPause * 2 ** Math.min(failures - 1, 16)) * (0.5 + random / 2);
}

/**
 * Returns when to update a root: once a day, or when half of the remaining time has passed, and not on all
 * nodes at once.
 */
export function nextRootUpdate(now: number, expires: number | undefined, random: number): number {
  const left = expires === undefined ? Number.POSITIVE_INFINITY : Math.max(0, expires - now);
  return now + Math.min(24 * hour, left / 2) * (0.75 + random / 4);
}
