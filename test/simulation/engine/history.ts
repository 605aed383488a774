import type { Decisions } from './decisions.ts';
import type { Report } from './history-events.ts';

/** The subject of a history. */
export type Kind = 'pods' | 'images' | 'services' | 'attachments';
export const kinds: readonly Kind[] = ['pods', 'images', 'services', 'attachments'];

export interface HistoryResult {
  /** Requests and events of the world. */
  readonly steps: number;
  readonly crashes: number;
}

/**
 * Plays one history over a separate world. The same decisions give the same history.
 * @param watch observes the world before anything happens in it
 * @throws Broken when an invariant does not hold
 */
export type PlayHistory<Watch = never> = (
  decisions: Decisions,
  report: Report,
  watch?: Watch,
) => Promise<HistoryResult>;
