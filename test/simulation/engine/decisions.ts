/** A small seeded generator (mulberry32): the same seed gives the same numbers, from 0 to below 1. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A decision of a history whose outcome was not the ordinary one. */
export interface Decision {
  /**
   * The step of the history, the name of the decision, and its number within that step: `4 fate of put 2`.
   */
  readonly about: string;
  readonly value: number;
}

/**
 * Everything that a history leaves to chance. Every decision has an ordinary outcome, 0: the oldest event
 * comes first, no effect fails. Decisions are named by their step, so that leaving out a step does not change
 * the meaning of decisions in other steps.
 */
export interface Decisions {
  /** Returns a whole number below `count`. */
  choose(about: string, count: number): number;
  /** Returns 0, or n + 1 with the probability `odds[n]`. */
  weigh(about: string, odds: readonly number[]): number;
  /** Begins a step: the decisions that follow belong to it. */
  begin(step: string): void;
  /** The decisions whose outcome was not the ordinary one. */
  readonly made: readonly Decision[];
}

/** Draws decisions from a seed. */
export function drawnFrom(seed: number): Decisions {
  const next = random(seed);
  return decisions((_about, count, odds) => {
    const drawn = next();
    if (odds === undefined) return Math.floor(drawn * count);
    let sum = 0;
    for (let index = 0; index < odds.length; index += 1) {
      sum += odds[index] ?? 0;
      if (drawn < sum) return index + 1;
    }
    return 0;
  });
}

/** Replays recorded decisions; all others have the ordinary outcome. */
export function replayOf(made: readonly Decision[]): Decisions {
  const values = new Map(made.map(({ about, value }) => [about, value]));
  return decisions((about, count) => Math.min(values.get(about()) ?? 0, count - 1));
}

function decisions(
  outcome: (about: () => string, count: number, odds: readonly number[] | undefined) => number,
): Decisions {
  const made: Decision[] = [];
  let counts = new Map<string, number>();
  let step = '';
  const decide = (what: string, count: number, odds?: readonly number[]): number => {
    if (count < 2) return 0;
    const times = (counts.get(what) ?? 0) + 1;
    counts.set(what, times);
    const about = (): string => `${step} ${what} ${times}`;
    const value = outcome(about, count, odds);
    if (value !== 0) made.push({ about: about(), value });
    return value;
  };
  return {
    made,
    choose: (what, count) => decide(what, count),
    weigh: (what, odds) => decide(what, odds.length + 1, odds),
    begin: (name) => {
      step = name;
      counts = new Map();
    },
  };
}
