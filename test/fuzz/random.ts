/** A seeded source of numbers: the same seed gives the same run (mulberry32). */
export interface Random {
  /** Returns a whole number from 0 to `below` - 1; 0 when `below` is less than 1. */
  below(below: number): number;
  pick<T>(from: readonly T[]): T;
  /** Returns true once in `times` calls on average. */
  once(times: number): boolean;
}

export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * Math.max(1, limit));
  return {
    below,
    pick: (from) => from[below(from.length)] as (typeof from)[number],
    once: (times) => below(times) === 0,
  };
}
