import { LRUCache } from 'lru-cache';
import type { FactAnswers } from './collector.ts';

/** Revocation answers that the renewals of one process share, until `forget` is called. */
export interface KeptAnswers extends FactAnswers {
  /** Drops the answers after they brought nothing new: the next question is asked again. */
  forget(): void;
}

/**
 * Many images share one revocation list. Each asks for it in its own turn within this time, and the list is
 * fetched once.
 */
const keptMilliseconds = 10 * 60 * 1000;
const keptBytes = 16 * 1024 * 1024;

/**
 * Creates the shared answers of one process. Failures are not kept. Callers that ask a question while it is
 * in progress share its answer.
 */
export function keepAnswers(): KeptAnswers {
  const kept = new LRUCache<string, Uint8Array>({
    max: 256,
    maxSize: keptBytes,
    sizeCalculation: (bytes) => bytes.byteLength + 1,
    ttl: keptMilliseconds,
  });
  const underWay = new Map<string, Promise<Uint8Array | string>>();
  return {
    async ask(question, ask) {
      const known = kept.get(question) ?? underWay.get(question);
      if (known !== undefined) return known;
      const asking = ask();
      underWay.set(question, asking);
      try {
        const answer = await asking;
        if (typeof answer !== 'string') kept.set(question, answer);
        return answer;
      } finally {
        underWay.delete(question);
      }
    },
    forget: () => kept.clear(),
  };
}
