import { LRUCache } from 'lru-cache';
import type { FactAnswers } from './collector.ts';

/** Answers about revocation that renewals of one process share, until they are told that these were no news. */
export interface KeptAnswers extends FactAnswers {
  /** What is kept was no news: the next question is asked. */
  forget(): void;
}

/** Many images hang on one revocation list; each asks for it in his own turn within this time, and it is fetched once. */
const keptMilliseconds = 10 * 60 * 1000;
const keptBytes = 16 * 1024 * 1024;

/** Answers of one process. Failures are not kept, and whoever asks while the same question is under way gets its answer. */
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
