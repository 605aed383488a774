import type { QueryResult } from './desk.ts';
import type { ForwardOutcome } from './forwarder.ts';
import { forwardBuckets } from './protocol.ts';
import type { NameFigures } from './protocol.ts';

/** Counts for metrics. */
export interface NameCounts {
  readonly query: (result: QueryResult) => void;
  readonly forward: (outcome: ForwardOutcome, seconds: number) => void;
  figures(gates: Pick<NameFigures, 'gates' | 'closedGates'>): NameFigures;
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
  const atMost = forwardBuckets.map(() => 0);
  let sum = 0;
  let count = 0;
  return {
    query(result) {
      queries[result] += 1;
    },
    forward(outcome, seconds) {
      forwards[outcome] += 1;
      if (outcome === 'limited') return;
      count += 1;
      sum += seconds;
      forwardBuckets.forEach((bucket, index) => {
        if (seconds <= bucket) atMost[index] = (atMost[index] ?? 0) + 1;
      });
    },
    figures: (gates) => ({
      queries: { ...queries },
      forwards: { ...forwards },
      forwardSeconds: { atMost: [...atMost], sum, count },
      ...gates,
    }),
  };
}
