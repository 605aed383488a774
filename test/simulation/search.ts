import { drawnFrom, replayOf } from './engine/decisions.ts';
import type { Decision } from './engine/decisions.ts';
import type { HistoryResult } from './engine/history.ts';
import { Broken } from './engine/invariants.ts';
import { kinds } from './engine/history.ts';
import { playerOf } from './players.ts';
import type { Kind } from './engine/history.ts';
import { shrink } from './shrink.ts';
import { noReport } from './engine/history-events.ts';

/** Kinds alternate, also for a process that plays every other seed. */
export function kindOf(seed: number, of: readonly Kind[] = kinds): Kind {
  return of[Math.floor(seed / 2) % of.length] ?? 'pods';
}

/** A history that broke an invariant. */
export interface Finding {
  readonly seed: number;
  readonly kind: Kind;
  readonly broken: Broken;
  readonly made: readonly Decision[];
}

/** Plays the history of one seed. @throws any error other than a broken invariant, with its seed */
export async function playSeed(seed: number, kind: Kind): Promise<HistoryResult | Finding> {
  const play = await playerOf(kind);
  const decisions = drawnFrom(seed);
  try {
    return await play(decisions, noReport);
  } catch (cause) {
    if (cause instanceof Broken) return { seed, kind, broken: cause, made: decisions.made };
    throw new Error(
      `the simulation failed: replay with npm run test:sim -- --kind ${kind} --seed ${seed} --histories 1`,
      { cause },
    );
  }
}

/** Returns a readable report of the shortest history that breaks the same invariant. */
export async function report({ seed, kind, broken, made }: Finding): Promise<string> {
  const play = await playerOf(kind);
  const { decisions, replays } = await shrink(play, made, broken.invariant);
  const events: string[] = [];
  let last: unknown = broken;
  await play(replayOf(decisions), (event) => events.push(event)).catch((cause: unknown) => {
    last = cause;
  });
  const found = last instanceof Error ? last.message : String(last);
  return [
    `seed ${seed} breaks an invariant: ${broken.message}`,
    `replay: npm run test:sim -- --kind ${kind} --seed ${seed} --histories 1`,
    `shrunk from ${made.length} decisions to ${decisions.length}, by ${replays} replays; all others are ordinary:`,
    ...decisions.map(({ about, value }) => `  ${about}: ${value}`),
    'what then happens:',
    ...events.map((event) => `  ${event}`),
    `→ ${found}`,
  ].join('\n');
}
