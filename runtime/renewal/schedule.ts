/** All times in milliseconds; `random` is in [0, 1). */

const hour = 3_600_000;
const firstPause = 15_000;
const longestPause = 15 * 60_000;

/**
 * When to ask for the successor of an answer: in the last fifth of its time, at most an hour before its end, and not all at one moment.
 * @param gathered when it was got
 */
export function firstTry(now: number, ends: number, gathered: number, random: number): number {
  const lead = Math.min(hour, Math.max(0, ends - gathered) / 5);
  return Math.max(now, ends - lead * (0.5 + random / 2));
}

/** When to try again after that many failures in a row: later and later, up to a quarter of an hour, and not all at one moment. */
export function nextTry(now: number, failures: number, random: number): number {
  return now + Math.min(longestPause, firstPause * 2 ** Math.min(failures - 1, 16)) * (0.5 + random / 2);
}

/** When to update a root: once a day, or when half of the time that is left has gone, and not all nodes at one moment. */
export function nextRootUpdate(now: number, expires: number | undefined, random: number): number {
  const left = expires === undefined ? Number.POSITIVE_INFINITY : Math.max(0, expires - now);
  return now + Math.min(24 * hour, left / 2) * (0.75 + random / 4);
}
