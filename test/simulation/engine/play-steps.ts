import { isPortcullisError } from '../../../base/errors/index.ts';
import type { Decisions } from './decisions.ts';
import type { HistoryResult } from './history.ts';
import { Broken } from './invariants.ts';
import type { Report } from './history-events.ts';

/**
 * The possible steps of a history. The first step of a list does nothing: a step that is left out becomes
 * this one.
 */
export type Step<Play> = readonly [name: string, act: (play: Play) => Promise<void>];

/** The choices that steps decide with. */
export interface Choices {
  choose(about: string, count: number): number;
  pick<T>(about: string, values: readonly T[]): T | undefined;
}

export const choicesOf = ({ choose }: Decisions): Choices => ({
  choose,
  pick: (about, values) => values[choose(about, values.length)],
});

/** A history from its first step to its end, of any kind. */
export interface Course<Play> {
  readonly decisions: Decisions;
  readonly report: Report;
  readonly steps: readonly Step<Play>[];
  readonly count: number;
  /** Starts the daemon. */
  readonly open: () => Promise<Play>;
  /** Lets background work take some turns after a step. */
  readonly settle: (play: Play) => Promise<void>;
  /** Checks the conditions after each step. */
  readonly check: (play: Play) => void;
  /** Stops the faults, and removes everything. */
  readonly finish: (play: Play) => Promise<void>;
  readonly crashes: (play: Play) => number;
}

/**
 * Plays the steps of a history. @throws Broken when an invariant does not hold, also if a request fails
 * permanently
 */
export async function playSteps<Play>(course: Course<Play>): Promise<HistoryResult> {
  const { decisions, report, steps, count } = course;
  try {
    const play = await course.open();
    for (let step = 1; step <= count; step += 1) {
      decisions.begin(String(step));
      const chosen = steps[decisions.choose('step', steps.length)];
      if (chosen !== undefined && chosen[0] !== '') report(`${step} ${chosen[0]}`);
      await chosen?.[1](play);
      await course.settle(play);
      course.check(play);
    }
    decisions.begin('end');
    report('faults cease');
    await course.finish(play);
    return { steps: count, crashes: course.crashes(play) };
  } catch (cause) {
    if (!isPortcullisError(cause)) throw cause;
    throw new Broken('everything ends', `a request fails permanently: ${cause.message}`);
  }
}
