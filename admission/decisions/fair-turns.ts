/**
 * Places for questions that several parties ask. A party is an identity that one tenant cannot multiply at
 * will, such as a user; a question counts for all parties that it names. No side effects.
 */
export interface FairTurns {
  /** Runs `ask` when a place is free for all of these parties. */
  run<T>(parties: readonly string[], ask: () => Promise<T>): Promise<T>;
}

export interface TurnLimits {
  readonly atOnce: number;
  /** For each party. */
  readonly atOnceOfParty: number;
  /** The last places, for questions of parties that have no place: a few parties cannot take all places. */
  readonly reserved: number;
}

interface Queue {
  readonly parties: readonly string[];
  readonly waiting: (() => void)[];
}

/** Questions that get a place before other work has its turn: thousands may end at once. */
const mostInARow = 32;

/**
 * A free place goes to the question whose parties have the fewest places; among equals, to the earliest. The
 * cost of a place is proportional to the number of parties that wait; a question that finds no place costs
 * nothing.
 */
export function createFairTurns({ atOnce, atOnceOfParty, reserved }: TurnLimits): FairTurns {
  const active = new Map<string, number>();
  /** By their parties, in the order of their earliest questions. */
  const queues = new Map<string, Queue>();
  let busy = 0;
  let inARow = 0;
  let isPausing = false;

  const heldBy = (parties: readonly string[]): number => {
    let most = 0;
    for (const party of parties) most = Math.max(most, active.get(party) ?? 0);
    return most;
  };
  const mayRun = (held: number): boolean =>
    held < atOnceOfParty && busy < (held === 0 ? atOnce : atOnce - reserved);
  const count = (parties: readonly string[], by: 1 | -1): void => {
    busy += by;
    for (const party of parties) {
      const now = (active.get(party) ?? 0) + by;
      if (now === 0) active.delete(party);
      else active.set(party, now);
    }
  };
  const pause = (): void => {
    isPausing = true;
    setImmediate(() => {
      [isPausing, inARow] = [false, 0];
      next();
    });
  };
  const next = (): void => {
    while (!isPausing) {
      if (inARow >= mostInARow) return pause();
      let found: [string, Queue] | undefined;
      let fewest = atOnceOfParty;
      for (const [key, queue] of queues) {
        const held = heldBy(queue.parties);
        if (held >= fewest || !mayRun(held)) continue;
        [found, fewest] = [[key, queue], held];
        if (held === 0) break;
      }
      if (found === undefined) return;
      const [key, queue] = found;
      const begin = queue.waiting.shift();
      // The other questions of this queue wait behind the other queues.
      queues.delete(key);
      if (queue.waiting.length > 0) queues.set(key, queue);
      count(queue.parties, 1);
      inARow += 1;
      begin?.();
    }
  };

  return {
    async run(given, ask) {
      const parties = [...new Set(given)];
      const key = JSON.stringify(parties);
      const turn = Promise.withResolvers<undefined>();
      const queue = queues.get(key) ?? { parties, waiting: [] };
      queues.set(key, queue);
      queue.waiting.push(() => turn.resolve(undefined));
      // No other question can begin that could not begin before.
      if (mayRun(heldBy(parties))) next();
      await turn.promise;
      try {
        return await ask();
      } finally {
        count(parties, -1);
        next();
      }
    },
  };
}
