import type { Decisions } from './decisions.ts';
import type { Tell } from './history-events.ts';
import type { Watch } from './watch.ts';

export interface HistoryResult {
  /** Requests and events of the world. */
  readonly steps: number;
  readonly crashes: number;
}

/**
 * Plays one history over a separate world. The same decisions give the same history.
 * @throws Broken when an invariant does not hold
 */
export type PlayHistory = (decisions: Decisions, report: Tell, watch?: Watch) => Promise<HistoryResult>;
