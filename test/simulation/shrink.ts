import type { Decision } from './engine/decisions.ts';
import { replayOf } from './engine/decisions.ts';
import type { PlayHistory } from './engine/history.ts';
import { Broken } from './engine/invariants.ts';
import type { InvariantName } from './engine/invariants.ts';
import { noReport } from './engine/history-events.ts';

export interface Shrunk {
  readonly decisions: readonly Decision[];
  readonly replays: number;
}

/**
 * Returns the invariant that a history broke; undefined when all invariants hold. A defect of the simulation
 * itself is thrown as another error.
 */
export async function brokenBy(play: PlayHistory, made: readonly Decision[]): Promise<Broken | undefined> {
  try {
    await play(replayOf(made), noReport);
    return undefined;
  } catch (cause) {
    if (cause instanceof Broken) return cause;
    throw cause;
  }
}

/**
 * Returns the fewest decisions that still break the same invariant (delta debugging, Zeller and Hildebrandt
 * 2002: it leaves out ever smaller parts as long as the history still breaks the invariant). A decision that
 * is left out has its ordinary outcome. In the end no single decision can be left out, unless `mostReplays`
 * is reached first.
 */
export async function shrink(
  play: PlayHistory,
  made: readonly Decision[],
  invariant: InvariantName,
  mostReplays = 3_000,
): Promise<Shrunk> {
  let replays = 0;
  const breaks = async (decisions: readonly Decision[]): Promise<boolean> => {
    replays += 1;
    return (await brokenBy(play, decisions).catch(() => undefined))?.invariant === invariant;
  };
  let kept = made;
  // Tries whole groups first: the order of events, then everything that happens in one step.
  for (const group of groupsOf(made)) {
    const rest = kept.filter((one) => !group.has(one));
    if (rest.length < kept.length && (await breaks(rest))) kept = rest;
  }
  for (let parts = 2; kept.length > 0 && replays < mostReplays;) {
    const size = Math.ceil(kept.length / parts);
    let found = false;
    for (let at = 0; at < kept.length && replays < mostReplays;) {
      const rest = [...kept.slice(0, at), ...kept.slice(at + size)];
      if (await breaks(rest)) [kept, found] = [rest, true];
      else at += size;
    }
    if (size === 1 && !found) break;
    parts = found ? Math.max(2, Math.min(parts, kept.length)) : Math.min(parts * 2, kept.length);
  }
  return { decisions: kept, replays };
}

function groupsOf(made: readonly Decision[]): Set<Decision>[] {
  const stepOf = ({ about }: Decision): string => about.split(' ', 1)[0] ?? '';
  const isOrder = ({ about }: Decision): boolean => / order \d+$/.test(about);
  const bySteps = [...Map.groupBy(made, stepOf).values()].map((group) => new Set(group));
  return [
    new Set(made.filter(isOrder)),
    ...[...Map.groupBy(made.filter(isOrder), stepOf).values()].map((group) => new Set(group)),
    ...bySteps.reverse(),
  ];
}
