import { LRUCache } from 'lru-cache';

/** Limits how many questions of one asker are answered in a second. */
export interface RateLimits {
  /** Returns whether the asker may ask one more question now, and counts it. */
  admits(asker: string, now: number): boolean;
  /** Takes further tokens for a question that was expensive, also more than the asker has. */
  charge(asker: string, tokens: number): void;
}

/** Askers that are remembered. The one that asked longest ago is forgotten first. */
const remembered = 8192;

/**
 * Each asker has a bucket of tokens. A question takes one.
 * @param rate tokens a second @param burst tokens of a full bucket
 */
export function createRateLimits({
  rate,
  burst,
}: {
  readonly rate: number;
  readonly burst: number;
}): RateLimits {
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
    charge(asker, tokens) {
      const bucket = buckets.get(asker);
      if (bucket !== undefined) bucket.tokens -= tokens;
    },
  };
}
