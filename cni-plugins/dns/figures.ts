import type { QueryResult } from './query-handler.ts';
import type { ForwardOutcome } from './forwarder.ts';
import type { NameFigures } from './protocol.ts';

/** Counts for metrics. */
export interface NameCounts {
  readonly query: (result: QueryResult) => void;
  readonly forward: (outcome: ForwardOutcome, seconds: number) => void;
  figures(listeners: Pick<NameFigures, 'listeners' | 'closedListeners'>): NameFigures;
}

export function createNameCounts(): NameCounts {
  const queries: Record<QueryResult, number> = {
    answered: 0,
    denied: 0,
    forwarded: 0,
    failed: 0,
    refused: 0,
    malformed: 0,
    ignored: 0,
  };
  const forwards: Record<ForwardOutcome, number> = { answered: 0, failed: 0, limited: 0 };
  const seconds: Record<ForwardOutcome, number> = { answered: 0, failed: 0, limited: 0 };
  return {
    query(result) {
      queries[result] += 1;
    },
    forward(outcome, took) {
      forwards[outcome] += 1;
      seconds[outcome] += took;
    },
    figures: (listeners) => ({
      queries: { ...queries },
      forwards: { ...forwards },
      forwardSeconds: { ...seconds },
      ...listeners,
    }),
  };
}
