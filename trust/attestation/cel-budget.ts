/**
 * The number of steps that evaluations may still take: for one requirement, over all of its expressions and
 * attestations.
 */
export interface CelBudget {
  left: number;
}

/**
 * A step takes about a fifth of a microsecond. Steps are counted, not timed, so that a verdict is the same on
 * every machine and under any load.
 */
const stepsOfRequirement = 1_000_000;

export function celBudget(): CelBudget {
  return { left: stepsOfRequirement };
}

/** The budget of the current evaluation. There is only one at a time, because evaluation is synchronous. */
let current: CelBudget = { left: 0 };

/** Runs an evaluation whose steps {@link spend} charges to this budget. */
export function spendingFrom<T>(budget: CelBudget, evaluate: () => T): T {
  current = budget;
  return evaluate();
}

/**
 * Charges steps to the current budget.
 * @throws Error when fewer steps are left. The library makes the error the value of that part of the
 * expression, and from then on no part costs anything
 */
export function spend(steps: number): void {
  current.left -= steps;
  if (current.left < 0) throw new Error(exhausted);
}

export const exhausted = `it needs more than the ${stepsOfRequirement.toLocaleString('en')} steps that a requirement may use for all of its attestations`;
