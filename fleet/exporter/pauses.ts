/** Pauses between failed attempts. */
export interface Pauses {
  /** Returns the next pause in ms: at least `leastMs`, and longer after each failure. */
  next(leastMs: number): number;
  /** Makes the next pause the shortest again. */
  reset(): void;
}

const firstMs = 1_000;
const longestMs = 300_000;

/**
 * Creates exponential pauses from one second to five minutes, with full jitter above one half, so that the
 * nodes of a fleet do not retry at the same time. A server can request a longer pause, up to the longest.
 */
export function createPauses(random: () => number): Pauses {
  let failures = 0;
  return {
    next(leastMs) {
      const most = Math.min(longestMs, firstMs * 2 ** Math.min(failures, 16));
      failures += 1;
      const asked = Number.isFinite(leastMs) ? Math.min(leastMs, longestMs) : 0;
      return Math.max(most / 2, asked) + (random() * most) / 2;
    },
    reset: () => {
      failures = 0;
    },
  };
}
