import { LRUCache } from 'lru-cache';

/** Limits how many questions of one asker are answered in a second. */
export interface RateLimits {
  /** Returns whether the asker may ask one more question now, and counts it. */
  admits(asker: string, now: number): boolean;
  /**
   * Takes further tokens for a question that took longer than one token is worth, also more than the asker
   * has: many questions that are each a little expensive must not add up.
   */
  took(asker: string, ms: number): void;
}

/** Askers that are remembered. The one that asked longest ago is forgotten first. */
const remembered = 8192;

/**
 * Each asker has a bucket of tokens. A question takes one.
 * @param rate tokens a second @param burst tokens of a full bucket
 * @param share the part of the thread's time that the rate is worth: a token is `share / rate` seconds
 */
export function createRateLimits({
  rate,
  burst,
  share,
}: {
  readonly rate: number;
  readonly burst: number;
  readonly share: number;
}): RateLimits {
  const tokensOfMs = rate / (share * 1000);
  const buckets = new LRUCache<string, { tokens: number; at: number }>({ max: remembered });
  return {
    admits(asker, now) {
      const bucket = buckets.get(asker) ?? { tokens: burst, at: now };
      buckets.set(asker, bucket);
      bucket.tokens = Math.min(burst, bucket.tokens + (Math.max(0, now - bucket.at) / 1000) * rate);
      bucket.at = now;
      if (bucket.tokens < 1) return false;
      bucket.tokens -= 1;
      return true;
    },
    took(asker, ms) {
      const bucket = buckets.get(asker);
      if (bucket !== undefined) bucket.tokens -= Math.max(0, ms * tokensOfMs - 1);
    },
  };
}
