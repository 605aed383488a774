import { createTurns } from '../images/turns.ts';
import type { Turns } from '../images/turns.ts';

/** Lets a limited number of works run at a time, and fewer of one owner, so that others always get a turn. */
export interface FairTurns {
  /** @throws the reason of `signal` when it is aborted while the work waits; what `work` throws */
  run<Result>(owner: string, signal: AbortSignal | undefined, work: () => Promise<Result>): Promise<Result>;
}

/**
 * @param most works at a time
 * @param mostOfOne works of one owner at a time; its others wait without a turn of their own
 */
export function createFairTurns(most: number, mostOfOne: number): FairTurns {
  const all = createTurns(most);
  const owners = new Map<string, { readonly turns: Turns; works: number }>();
  return {
    async run(owner, signal, work) {
      const own = owners.get(owner) ?? { turns: createTurns(mostOfOne), works: 0 };
      owners.set(owner, own);
      own.works += 1;
      try {
        return await within(own.turns, signal, () => within(all, signal, work));
      } finally {
        own.works -= 1;
        if (own.works === 0) owners.delete(owner);
      }
    },
  };
}

async function within<Result>(
  turns: Turns,
  signal: AbortSignal | undefined,
  work: () => Promise<Result>,
): Promise<Result> {
  await turns.enter(signal);
  try {
    return await work();
  } finally {
    turns.leave();
  }
}
