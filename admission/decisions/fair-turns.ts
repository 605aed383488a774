/**
 * Places for questions that several parties ask. A party is what one tenant cannot multiply at will, such as
 * a user; a question counts for all parties that it names. No side effects.
 */
export interface FairTurns {
  /** Runs `ask` when a place is free for all of these parties. */
  run<T>(parties: readonly string[], ask: () => Promise<T>): Promise<T>;
}

export interface TurnLimits {
  readonly atOnce: number;
  /** For each party. */
  readonly atOnceOfParty: number;
  /** The last places, for questions of parties that have none: a few parties cannot hold everything. */
  readonly reserved: number;
}

interface Queue {
  readonly parties: readonly string[];
  readonly waiting: (() => void)[];
}

/**
 * A free place goes to the question whose parties hold the fewest places, the earliest of several. The effort
 * is proportional to the number of parties that wait.
 */
export function createFairTurns({ atOnce, atOnceOfParty, reserved }: TurnLimits): FairTurns {
  const active = new Map<string, number>();
  /** By their parties, in the order of their earliest questions. */
  const queues = new Map<string, Queue>();
  let busy = 0;

  const heldBy = (parties: readonly string[]): number =>
    parties.reduce((most, party) => Math.max(most, active.get(party) ?? 0), 0);
  const mayRun = (parties: readonly string[]): boolean => {
    const held = heldBy(parties);
    return held < atOnceOfParty && busy < (held === 0 ? atOnce : atOnce - reserved);
  };
  const count = (parties: readonly string[], by: 1 | -1): void => {
    busy += by;
    for (const party of parties) {
      const now = (active.get(party) ?? 0) + by;
      if (now === 0) active.delete(party);
      else active.set(party, now);
    }
  };
  const next = (): void => {
    for (;;) {
      let found: [string, Queue] | undefined;
      for (const [key, queue] of queues)
        if (
          mayRun(queue.parties) &&
          (found === undefined || heldBy(queue.parties) < heldBy(found[1].parties))
        )
          found = [key, queue];
      if (found === undefined) return;
      const [key, queue] = found;
      const begin = queue.waiting.shift();
      // The others of this queue wait behind the other queues.
      queues.delete(key);
      if (queue.waiting.length > 0) queues.set(key, queue);
      count(queue.parties, 1);
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
      next();
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
