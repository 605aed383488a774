/** The longest pause after failures, in ms. */
const longestMs = 3_600_000;
/** The longest pause that a server may ask for, in ms. */
const mostAskedMs = 24 * 3_600_000;

/** Values on which the time of the next question depends. */
export interface LastQuestion {
  readonly intervalMs: number;
  /** How many questions in a row had no answer. */
  readonly failures: number;
  /** The time that the server asked for (Retry-After), in ms. */
  readonly askedMs?: number | undefined;
  /** 0 to 1. */
  readonly random: number;
}

/**
 * Returns the time until the next question, in ms. Nodes that start at one time do not ask at one time: the
 * time varies by a fifth. After failures it grows to eight intervals or an hour, and varies by half.
 */
export function pauseBefore({ intervalMs, failures, askedMs = 0, random }: LastQuestion): number {
  const grown = Math.min(intervalMs * 2 ** Math.min(failures, 3), Math.max(longestMs, intervalMs));
  const own = failures === 0 ? intervalMs * (0.8 + 0.4 * random) : grown * (0.5 + 0.5 * random);
  return Math.round(Math.max(own, Math.min(askedMs, mostAskedMs) * (1 + 0.2 * random)));
}

/** Returns the time until the first question after a start, in ms: at once if the node has nothing valid. */
export function firstPause(intervalMs: number, isUrgent: boolean, random: number): number {
  return isUrgent ? 0 : Math.round(Math.min(intervalMs, 60_000) * random);
}
