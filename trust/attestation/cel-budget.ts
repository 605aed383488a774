/** Steps that evaluations may still take: of one requirement, over all of its expressions and attestations. */
export interface CelBudget {
  left: number;
}

/**
 * About a fifth of a microsecond each. Steps are counted and not timed, so that a verdict is the same on every machine and at
 * every load.
 */
const stepsOfRequirement = 1_000_000;

export function celBudget(): CelBudget {
  return { left: stepsOfRequirement };
}

/** The budget of the evaluation that goes on: there is only ever one, since evaluation is synchronous. */
let current: CelBudget = { left: 0 };

/** Runs an evaluation that {@link spend} charges to this budget. */
export function spendingFrom<T>(budget: CelBudget, evaluate: () => T): T {
  current = budget;
  return evaluate();
}

/** @throws Error when that much is not left; the library makes it the value of the expression's part, and none costs anything any more */
export function spend(steps: number): void {
  current.left -= steps;
  if (current.left < 0) throw new Error(exhausted);
}

export const exhausted = `it takes more than the ${stepsOfRequirement.toLocaleString('en')} steps that a requirement may take over all of its attestations`;
