/** Records the calls that a thread served, to find times when no caller waits. */
export interface RecentCalls {
  /** A call arrived. */
  note(): void;
  /** Returns when the last call arrived, as `performance.now()`; 0 before the first. */
  lastAt(): number;
  /** Returns true once after many calls, when no other call arrived for a while. */
  areOver(now: number): boolean;
}

/** After some dozen calls the log is so long that SQLite would let one of them wait for a checkpoint. */
const manyCalls = 32;
const quietMs = 1000;

/** Creates a record of no calls. */
export function createRecentCalls(): RecentCalls {
  let served = 0;
  let last = 0;
  return {
    note() {
      last = performance.now();
      served += 1;
    },
    lastAt: () => last,
    areOver(now) {
      if (served <= manyCalls || now - last <= quietMs) return false;
      served = 0;
      return true;
    },
  };
}
