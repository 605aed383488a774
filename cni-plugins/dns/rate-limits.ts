import { LRUCache } from 'lru-cache';

/** Limits how many questions of one asker are answered in a second. */
export interface RateLimits {
  /** Returns whether the asker may ask one more question now, and counts it. */
  admits(asker: string, now: number): boolean;
  /** Returns the tokens that the asker had left after its last question. */
  left(asker: string): number;
  /**
   * Takes further tokens for a question that took longer than one token is worth, also more than the asker
   * has: many questions that are each a little expensive must not add up.
   */
  took(asker: string, ms: number): void;
}

/** Askers that are remembered. The one that asked longest ago is forgotten first. */
const remembered = 8192;

interface Rate {
  readonly rate: number;
  readonly burst: number;
  readonly share: number;
}

/** A pod's questions in a second, and its share of the thread. A resolver asks some ten for one name. */
export const ratePerPod: Rate = { rate: 2000, burst: 4000, share: 0.1 };
/** All pods and the host together. What is left is for other work, and for pods with few questions. */
export const rateOfPods: Rate = { rate: 14_000, burst: 14_000, share: 0.7 };

/** Limits of askers, some of which are known. */
export interface AskerLimits {
  /** As {@link RateLimits.admits}. Askers that are not known share one bucket. */
  admits(asker: string, isKnown: boolean, now: number): boolean;
  /** As {@link RateLimits.took}. */
  took(asker: string, isKnown: boolean, ms: number): void;
}

/**
 * Gives each known asker a bucket, and all others one together: a source address can be chosen, and each new
 * one would have a full bucket of its own.
 * @param all what all known askers may use together: when this is used up, only an asker with more than half
 * of its own tokens is answered. Several askers with many questions leave time for the others in this way.
 */
export function createAskerLimits(known: Rate, others: Rate, all: Rate): AskerLimits {
  const [ofKnown, ofOthers] = [createRateLimits(known), createRateLimits(others)];
  const ofAll = createRateLimits(all);
  return {
    admits(asker, isKnown, now) {
      if (!isKnown) return ofOthers.admits('', now);
      if (!ofKnown.admits(asker, now)) return false;
      // A question that is not answered has taken a token all the same: otherwise an asker with many
      // questions would soon have half of its tokens.
      return ofAll.admits('', now) || ofKnown.left(asker) > known.burst / 2;
    },
    took(asker, isKnown, ms) {
      if (!isKnown) return ofOthers.took('', ms);
      ofAll.took('', ms);
      ofKnown.took(asker, ms);
    },
  };
}

/**
 * Each asker has a bucket of tokens. A question takes one.
 * @param rate tokens a second @param burst tokens of a full bucket
 * @param share the part of the thread's time that the rate is worth: a token is `share / rate` seconds
 */
export function createRateLimits({ rate, burst, share }: Rate): RateLimits {
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
    left: (asker) => buckets.get(asker)?.tokens ?? burst,
    took(asker, ms) {
      const bucket = buckets.get(asker);
      if (bucket === undefined) return;
      // A disk or a machine that stood still for seconds is not the fault of the asker it happened to.
      bucket.tokens = Math.max(-burst, bucket.tokens - Math.max(0, ms * tokensOfMs - 1));
    },
  };
}
